#!/usr/bin/env node
// CommonJS on purpose: libuv sizes its thread pool once, at its first use, and some Node 22 releases use it to load
// an ES module that is the program (22.15 does, 22.23 and 24 do not). So the size is set before any module is loaded.
// The pool syncs the journal, LevelDB and the signer's memory, and compresses: work that must not wait in turn.
process.env.UV_THREADPOOL_SIZE ??= '8'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 15)) {
  process.stderr.write(`error: rootspan needs Node 22.15 or newer; this is ${process.version}\n`)
  process.exit(1)
}

import('./cli/program.ts').then(({ runProgram }) => runProgram(process))
