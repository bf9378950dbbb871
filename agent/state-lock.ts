// One agent process per state folder: a name that the kernel frees when the process ends, however it ends.
import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { createServer } from 'node:net'
import { VarveError } from '../protocol/errors.ts'

/** Holds the folder until disposed; STATE_LOCKED when another process has it. */
export const lockState = async (folder: string): Promise<AsyncDisposable> => {
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 32)
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const held = error.code === 'EADDRINUSE'
      const sentence = held
        ? `another agent runs with the state folder ${folder}`
        : `cannot lock the state folder ${folder}: ${error.message}`
      reject(new VarveError(held ? 'STATE_LOCKED' : 'INTERNAL', sentence, { cause: error }))
    })
    // an abstract socket: no file to be left behind
    server.listen(`\0varve-agent-${name}`, resolve)
  })
  server.unref()
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) }
}
