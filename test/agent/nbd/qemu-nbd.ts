// Real disks for tests: images in a folder of their own, served by qemu-nbd on a unix socket.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { run } from '../../support/run.ts'
import type { TempFolder } from '../../support/temp.ts'

/** Runs qemu-io commands on an image. */
export const qemuIo = (path: string, format: string, ...commands: readonly string[]): Promise<string> =>
  run('qemu-io', ['-f', format, ...commands.flatMap((command) => ['-c', command]), path])

export interface QemuNbd extends AsyncDisposable {
  readonly pid: number
  readonly socketPath: string
  kill(): Promise<void>
}

const isListening = async (socketPath: string): Promise<boolean> => {
  const socket = connect(socketPath)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** Serves an image as the export `disk`; the arguments name the image and what else qemu-nbd is told. */
export const startQemuNbd = async (folder: TempFolder, ...args: readonly string[]): Promise<QemuNbd> => {
  const socketPath = folder.join(`${crypto.randomUUID().slice(0, 8)}.sock`)
  const child = spawn('qemu-nbd', ['-t', '-e', '8', '-k', socketPath, '-x', 'disk', ...args], { stdio: 'pipe' })
  const exited = once(child, 'exit')
  let said = ''
  child.stderr.on('data', (text) => {
    said += String(text)
  })
  while (!(await isListening(socketPath))) {
    if (child.exitCode !== null) throw new Error(`qemu-nbd ended: ${said}`)
    await delay(10)
  }
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    await exited
  }
  return { pid: child.pid!, socketPath, kill: () => stop('SIGKILL'), [Symbol.asyncDispose]: () => stop('SIGTERM') }
}
