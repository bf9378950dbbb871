// One agent process per state folder: a name that the kernel frees when the process ends, however it ends.
import { createHash } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { VarveError } from '../protocol/errors.ts'

/** An abstract socket: no file to be left behind. */
const socketOf = (folder: string): string =>
  `\0varve-agent-${createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 32)}`

/** Whether an agent, or an enrolment, has the folder now. */
export const isStateLocked = async (folder: string): Promise<boolean> => {
  if (!existsSync(folder)) return false
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = createConnection({ path: socketOf(folder) })
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  const locked = await promise
  socket.destroy()
  return locked
}

/** Holds the folder until disposed; STATE_LOCKED when another process has it. */
export const lockState = async (folder: string): Promise<AsyncDisposable> => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const held = error.code === 'EADDRINUSE'
      const sentence = held
        ? `another agent runs with the state folder ${folder}`
        : `cannot lock the state folder ${folder}: ${error.message}`
      reject(new VarveError(held ? 'STATE_LOCKED' : 'INTERNAL', sentence, { cause: error }))
    })
    server.listen(socketOf(folder), resolve)
  })
  server.unref()
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) }
}
