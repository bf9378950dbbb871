// The process beside a run of the tests that ends what a test file started once that file's process is gone, and everything
// once the run is gone, however they went.
//
// Usage: node keeper.ts RUN_FOLDER   It lives as long as its standard input is open. A run that ends by itself writes to it
// first: then processes of test files have a while to end by themselves.
import { createInterface } from 'node:readline'
import { createServer, type Socket } from 'node:net'
import path from 'node:path'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { clearFolder } from './leftovers.ts'
import { KEEPER_SOCKET } from './run-folder.ts'

/** How long a test file's process may take to end after the run, in milliseconds: vitest waits for it in vain if it is killed. */
const ENDING_MS = 30_000

const runFolder = process.argv[2]!

/** Test files by the folders that they were given. */
const files = new Map<string, string>()

/** Ends of the processes of test files. */
const ends = new Set<Promise<unknown>>()

/** One folder after the other, so that each process is told once. */
let cleared: Promise<unknown> = Promise.resolve()

const clearAfter = async (earlier: Promise<unknown>, folder: string): Promise<void> => {
  await earlier
  for (const { pid, command, folder: of } of await clearFolder(folder))
    process.stderr.write(`left by ${files.get(of) ?? 'the run'} and ended: ${pid} ${command}\n`)
}

const clear = (folder: string): void => void (cleared = clearAfter(cleared, folder))

/** A test file's process: names its folder and itself in one line, and holds the connection for as long as it lives. */
const onTestFile = async (socket: Socket): Promise<void> => {
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  ends.add(closed)
  const [line] = (await once(createInterface({ input: socket }), 'line')) as [string]
  const { folder, file } = JSON.parse(line) as { folder: string; file: string }
  files.set(folder, file)
  await closed
  ends.delete(closed)
  clear(folder)
}

const server = createServer((socket) => void onTestFile(socket))
server.listen(path.join(runFolder, KEEPER_SOCKET))
await once(server, 'listening')
process.stdout.write('ready\n')
let orderly = false
process.stdin.on('data', () => (orderly = true))
await once(process.stdin, 'close')
if (orderly) await Promise.race([Promise.all(ends), sleep(ENDING_MS)])
server.close()
clear(runFolder)
await cleared
process.exit()
