// The process beside a run of the tests that ends what a test file started once that file's process is gone, and everything
// once the run is gone, however they went.
//
// Usage: node keeper.ts RUN_FOLDER   It lives as long as its standard input is open.
import { createInterface } from 'node:readline'
import { createServer, type Socket } from 'node:net'
import path from 'node:path'
import { once } from 'node:events'
import { clearFolder } from './leftovers.ts'
import { KEEPER_SOCKET } from './run-folder.ts'

const runFolder = process.argv[2]!

/** Test files by the folders that they were given. */
const files = new Map<string, string>()

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
  const [line] = (await once(createInterface({ input: socket }), 'line')) as [string]
  const { folder, file } = JSON.parse(line) as { folder: string; file: string }
  files.set(folder, file)
  await closed
  clear(folder)
}

const server = createServer((socket) => void onTestFile(socket))
server.listen(path.join(runFolder, KEEPER_SOCKET))
await once(server, 'listening')
process.stdout.write('ready\n')
await once(process.stdin.resume(), 'close')
server.close()
clear(runFolder)
await cleared
process.exit()
