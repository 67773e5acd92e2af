// Pictures on canvases: decoded arrays, and thumbnails that lie side by side in one image.
"use strict";

const jaxgenPictures = (() => {
  // Written pixel by pixel, these canvases are better kept off the graphics card.
  const contextOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

  // Draws values in [0, 1], [H, W, C] with C 1 or 3, pixel for pixel.
  function draw(canvas, values, [height, width, channels]) {
    canvas.width = width;
    canvas.height = height;
    const pixels = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) {
        const value = values[i * channels + (channels === 3 ? c : 0)];
        pixels.data[4 * i + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
      }
      pixels.data[4 * i + 3] = 255;
    }
    contextOf(canvas).putImageData(pixels, 0, 0);
  }

  // The sheet of images that an <img> element holds, `columns` in a row, each [H, W, C].
  async function sheet(image, [height, width], columns) {
    await image.decode();
    const whole = document.createElement("canvas");
    whole.width = image.naturalWidth;
    whole.height = image.naturalHeight;
    const context = contextOf(whole);
    context.drawImage(image, 0, 0);

    function pixels(n) {
      const left = (n % columns) * width;
      const top = Math.floor(n / columns) * height;
      return context.getImageData(left, top, width, height);
    }

    function drawOn(canvas, n) {
      canvas.width = width;
      canvas.height = height;
      contextOf(canvas).putImageData(pixels(n), 0, 0);
    }

    // RGB in [0, 1].
    function values(n) {
      const { data } = pixels(n);
      return Float32Array.from({ length: 3 * width * height }, (_, i) => {
        return data[4 * Math.floor(i / 3) + (i % 3)] / 255;
      });
    }

    return { drawOn, values };
  }

  // [H, W, C] in [0, 1] as RGB of another size, each new pixel the mean of those it covers.
  function reduced(values, [height, width, channels], [newHeight, newWidth]) {
    const out = new Float32Array(3 * newHeight * newWidth);
    const edge = (n, size, newSize) => Math.floor((n * size) / newSize);
    for (let i = 0; i < newHeight; i++) {
      const top = edge(i, height, newHeight), bottom = Math.max(top + 1, edge(i + 1, height, newHeight));
      for (let j = 0; j < newWidth; j++) {
        const left = edge(j, width, newWidth), right = Math.max(left + 1, edge(j + 1, width, newWidth));
        for (let c = 0; c < 3; c++) {
          let sum = 0;
          for (let y = top; y < bottom; y++) {
            for (let x = left; x < right; x++) {
              sum += values[(y * width + x) * channels + (channels === 3 ? c : 0)];
            }
          }
          out[(i * newWidth + j) * 3 + c] = sum / ((bottom - top) * (right - left));
        }
      }
    }
    return out;
  }

  return { draw, sheet, reduced };
})();
