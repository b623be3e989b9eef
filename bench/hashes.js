// SPDX-License-Identifier: MIT
//
// Hashes, buffers and compression: what Node.js allocates by malloc, from code that it has made at run time.
//
//     node bench/hashes.js TIMES
const { createHash } = require('crypto');
const { deflateSync, inflateSync } = require('zlib');

function once(seed) {
    const block = Buffer.allocUnsafeSlow(100 + seed % 500).fill(seed & 255);
    const digest = createHash('sha256').update(block).digest('hex');
    if (seed % 20 !== 0)
        return digest.length;
    const text = digest.repeat(1 + seed % 40);
    if (inflateSync(deflateSync(text)).toString() !== text)
        throw new Error('what came back is not what went in');
    return text.length;
}

let sum = 0;
for (let i = 0; i < 2000 * Number(process.argv[2]); i++)
    sum += once(i);
console.log(sum);
