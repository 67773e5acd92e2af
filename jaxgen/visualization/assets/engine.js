// Runs a program that jaxgen/visualization/programs.py translated from JAX.
//
// All arrays are Float32Arrays (indices: Int32Arrays), contiguous, row by row. `compile` allocates
// what every step writes, and gives a function of the inputs that carries out the steps in order.
"use strict";

const jaxgenEngine = (() => {
  const HALF = new Float32Array(1 << 16); // every float16 as a float32

  function fillHalf() {
    for (let bits = 0; bits < HALF.length; bits++) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      let value = (1 + fraction / 1024) * 2 ** (exponent - 15);
      if (exponent === 0) value = fraction * 2 ** -24;
      if (exponent === 31) value = fraction ? NaN : Infinity;
      HALF[bits] = sign * value;
    }
  }

  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // Arrays of one dtype after another, from little-endian bytes.
  function reader(bytes) {
    if (HALF[0x3c00] === 0) fillHalf();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    let at = 0;
    return (dtype, size) => {
      const out = dtype === "int32" ? new Int32Array(size) : new Float32Array(size);
      for (let i = 0; i < size; i++) {
        if (dtype === "float16") out[i] = HALF[view.getUint16(at + 2 * i, true)];
        else if (dtype === "int32") out[i] = view.getInt32(at + 4 * i, true);
        else out[i] = view.getFloat32(at + 4 * i, true);
      }
      at += size * (dtype === "float16" ? 2 : 4);
      return out;
    };
  }

  // The series of erf near 0, the continued fraction of erfc away from it.
  function erf(x) {
    if (Math.abs(x) > 2.5) return Math.sign(x) * (1 - erfc(Math.abs(x)));
    let term = x;
    let sum = x;
    for (let n = 1; n < 60; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 * sum) / Math.sqrt(Math.PI);
  }

  function erfc(x) {
    if (x <= 2.5) return 1 - erf(x);
    let fraction = 0;
    for (let n = 40; n > 0; n--) fraction = n / 2 / (x + fraction);
    return Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + fraction));
  }

  const UNARY = {
    copy: (x) => x, neg: (x) => -x, not: (x) => (x ? 0 : 1), square: (x) => x * x,
    rsqrt: (x) => 1 / Math.sqrt(x), logistic: (x) => 1 / (1 + Math.exp(-x)), erf, erfc, exp2: (x) => 2 ** x,
    abs: Math.abs, ceil: Math.ceil, cos: Math.cos, exp: Math.exp, expm1: Math.expm1,
    floor: Math.floor, log: Math.log, log1p: Math.log1p, sign: Math.sign, sin: Math.sin,
    sqrt: Math.sqrt, tanh: Math.tanh, trunc: Math.trunc,
  };
  const BINARY = {
    add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b,
    max: (a, b) => (a > b || a !== a ? a : b), min: (a, b) => (a < b || a !== a ? a : b),
    pow: Math.pow, eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b), lt: (a, b) => +(a < b),
    le: (a, b) => +(a <= b), gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b),
    and: (a, b) => +(a && b), or: (a, b) => +(a || b),
  };

  const product = (shape) => shape.reduce((a, b) => a * b, 1);

  // offset + sum of index * stride, for every index of a shape in order.
  function places(shape, { strides, offset }) {
    let found = Int32Array.of(offset);
    shape.forEach((size, axis) => {
      const wider = new Int32Array(found.length * size);
      for (let i = 0; i < found.length; i++) {
        for (let j = 0; j < size; j++) wider[i * size + j] = found[i] + j * strides[axis];
      }
      found = wider;
    });
    return found;
  }

  function map(step, inputs, out) {
    const at = step.layouts.map((layout) => layout && places(step.shape, layout));
    const [a, b, c] = inputs;
    const [p, q, r] = at;
    if (step.f === "select_n") {
      return () => {
        for (let i = 0; i < out.length; i++) {
          const chosen = a[p ? p[i] : i];
          out[i] = chosen ? c[r ? r[i] : i] : b[q ? q[i] : i];
        }
      };
    }
    if (inputs.length === 1) {
      const f = UNARY[step.f];
      return () => {
        for (let i = 0; i < out.length; i++) out[i] = f(a[p ? p[i] : i]);
      };
    }
    const f = BINARY[step.f];
    return () => {
      for (let i = 0; i < out.length; i++) out[i] = f(a[p ? p[i] : i], b[q ? q[i] : i]);
    };
  }

  function place(step, inputs, out) {
    const at = step.parts.map((part) => places(part.shape, part));
    return () => {
      out.fill(step.fill);
      inputs.forEach((input, n) => {
        for (let i = 0; i < at[n].length; i++) out[at[n][i]] = input[i];
      });
    };
  }

  // What a row of numbers that are not zero gives with the rows of a matrix: half of a hidden
  // layer is zero after ReLU, and four rows at a time read and write the sums only once.
  function accumulator(size) {
    const factors = new Float64Array(size + 3);
    const offsets = new Int32Array(size + 3);
    let count = 0;

    // Keeps those of array[from .. from + length) that are not zero; the n-th meets row n.
    function gather(array, from, length, stride) {
      count = 0;
      for (let n = 0; n < length; n++) {
        if (array[from + n] === 0) continue;
        factors[count] = array[from + n];
        offsets[count++] = n * stride;
      }
      for (let n = count; n < count + 3; n++) factors[n] = offsets[n] = 0;
    }

    // out[to + m] += sum over what was gathered of factor * matrix[start + offset + m]
    function add(matrix, start, width, out, to) {
      for (let n = 0; n < count; n += 4) {
        const w = factors[n], x = factors[n + 1], y = factors[n + 2], z = factors[n + 3];
        const p = start + offsets[n], q = start + offsets[n + 1];
        const r = start + offsets[n + 2], s = start + offsets[n + 3];
        for (let m = 0; m < width; m++) {
          out[to + m] +=
            w * matrix[p + m] + x * matrix[q + m] + y * matrix[r + m] + z * matrix[s + m];
        }
      }
    }

    return { gather, add };
  }

  function dot(step, [a, b], out) {
    const { batch, rows, inner, columns } = step;
    const { gather, add } = accumulator(inner);
    return () => {
      out.fill(0);
      for (let n = 0; n < batch * rows; n++) {
        gather(a, n * inner, inner, columns);
        add(b, Math.floor(n / rows) * inner * columns, columns, out, n * columns);
      }
    };
  }

  // For each place of the image along an axis, the taps of the kernel and the places they add to.
  function meetings(step, axis) {
    const low = step.padding[axis][0];
    return Array.from({ length: step.image[axis + 1] }, (_, i) => {
      const found = [];
      for (let k = 0; k < step.kernel[axis]; k++) {
        const scaled = i * step.image_dilation[axis] + low - k * step.kernel_dilation[axis];
        const o = scaled / step.strides[axis];
        if (Number.isInteger(o) && o >= 0 && o < step.out[axis + 1]) found.push([k, o]);
      }
      return found;
    });
  }

  function conv(step, [image, kernel], out) {
    const [batch, height, width, channels] = step.image;
    const [, kernelWidth, groupChannels, features] = step.kernel;
    const [, outHeight, outWidth] = step.out;
    const groupFeatures = features / step.groups;
    const rows = meetings(step, 0);
    const columns = meetings(step, 1);
    const { gather, add } = accumulator(groupChannels);

    function spread(n, i, j, group) {
      for (const [k, o] of rows[i]) {
        for (const [l, p] of columns[j]) {
          const tap = (k * kernelWidth + l) * groupChannels * features;
          const to = ((n * outHeight + o) * outWidth + p) * features;
          add(kernel, tap + group, groupFeatures, out, to + group);
        }
      }
    }

    return () => {
      out.fill(0);
      for (let n = 0; n < batch; n++) {
        for (let i = 0; i < height; i++) {
          for (let j = 0; j < width; j++) {
            for (let group = 0; group < step.groups; group++) {
              const from = ((n * height + i) * width + j) * channels + group * groupChannels;
              gather(image, from, groupChannels, features);
              spread(n, i, j, group * groupFeatures);
            }
          }
        }
      }
    };
  }

  function reduce(step, [a], out) {
    const f = { sum: BINARY.add, max: BINARY.max, min: BINARY.min }[step.f];
    return () => {
      for (let n = 0; n < step.rows; n++) {
        let total = a[n * step.inner];
        for (let k = 1; k < step.inner; k++) total = f(total, a[n * step.inner + k]);
        out[n] = total;
      }
    };
  }

  const take = (step, [a, index], out) => () => {
    for (let i = 0; i < out.length; i++) out[i] = a[index[i]];
  };

  const STEPS = { map, place, dot, conv, reduce, take };

  // A program and the bytes of its constants become (...inputs) => Float32Array; the array belongs
  // to the program and is written again by the next call.
  function compile(program, bytes) {
    const read = reader(bytes);
    const arrays = [];
    for (const { id, size } of program.inputs) arrays[id] = new Float32Array(size);
    for (const { id, dtype, size } of program.constants) arrays[id] = read(dtype, size);
    const run = program.steps.map((step) => {
      arrays[step.id] = new Float32Array(product(step.shape));
      return STEPS[step.op](step, step.in.map((id) => arrays[id]), arrays[step.id]);
    });
    return (...inputs) => {
      program.inputs.forEach(({ id }, n) => arrays[id].set(inputs[n]));
      for (const step of run) step();
      return arrays[program.output];
    };
  }

  return { compile, bytesOf, reader };
})();
