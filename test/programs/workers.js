// SPDX-License-Identifier: MIT
//
// Worker threads, promises, compression, hashes, and a child process.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { createHash } = require('crypto');
const { execFile } = require('child_process');
const zlib = require('zlib');

function work(seed) {
    const table = new Map();
    for (let i = 0; i < 20000; i++)
        table.set('key ' + (i * seed % 7919), JSON.stringify({ i, text: 'x'.repeat(i % 50) }));
    const text = [...table.keys()].sort().map((key) => table.get(key)).join('\n');
    return createHash('sha256').update(zlib.inflateSync(zlib.deflateSync(text))).digest('hex');
}

if (isMainThread) {
    const workers = [1, 2, 3].map((seed) => new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: seed });
        worker.once('message', resolve).once('error', reject);
    }));
    const child = new Promise((resolve) => execFile('/bin/echo', ['from a child'], (error, out) => resolve(error ?? out)));
    Promise.all([...workers, child]).then((results) => {
        console.log(results.join('\n'), work(1) === results[0]);
        process.exitCode = 5;
    });
} else {
    parentPort.postMessage(work(workerData));
}
