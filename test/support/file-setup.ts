// Before each test file: gives it a temporary folder of its own, by which the run's keeper knows what it started, and tells
// the keeper when it has gone.
import { mkdir } from 'node:fs/promises'
import { once } from 'node:events'
import { connect } from 'node:net'
import path from 'node:path'
import { afterAll, expect } from 'vitest'
import { KEEPER_SOCKET, RUN_FOLDER_VARIABLE } from './run-folder.ts'
import { endRunners, useRunners } from './runner.ts'
import { wantedSeed } from './seed.ts'

const run = process.env[RUN_FOLDER_VARIABLE]!
const folder = path.join(run, process.pid.toString(36))
await mkdir(folder, { recursive: true })
process.env['TMPDIR'] = folder
// closes with this process, whatever ends it
const keeper = connect(path.join(run, KEEPER_SOCKET))
await once(keeper, 'connect')
keeper.write(`${JSON.stringify({ folder, file: expect.getState().testPath ?? 'a test' })}\n`)
keeper.unref()
// property tests name their seed when they fail
const seed = wantedSeed()
if (seed !== null) (await import('fast-check')).configureGlobal({ seed })
// Vitest would make a name for each index of long bytes
expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    one instanceof Uint8Array && other instanceof Uint8Array && one.constructor === other.constructor
      ? Buffer.compare(one, other) === 0
      : undefined,
])
useRunners()
afterAll(endRunners)
