// A bare QEMU process with any command line, without a machine in it: what runs on a host besides the machines of a test.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { isListenerSeen } from '../../agent/drivers/nbd-door.ts'
import { eventually } from './temp.ts'

const BARE = ['-S', '-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'none']

export interface QemuProcessOptions {
  readonly args: readonly string[]
  readonly cwd: string
  /** Where it listens once it is up, as it is told to: the files are there before. */
  readonly sockets: readonly string[]
  /** Program and arguments that start it, such as `unshare -m`. */
  readonly through?: readonly string[]
  readonly machine?: string
}

export interface QemuProcess extends AsyncDisposable {
  readonly pid: number
}

/** Starts a QEMU; `await using` ends it. */
export const startQemuProcess = async (options: QemuProcessOptions): Promise<QemuProcess> => {
  const { args, cwd, sockets, through = [], machine } = options
  const bare = machine === undefined ? BARE : [...BARE.slice(0, -1), machine]
  const [program, ...rest] = [...through, 'qemu-system-x86_64', ...bare, ...args]
  const child = spawn(program!, rest, { cwd, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (part: Buffer) => (said += part.toString()))
  const exited = once(child, 'exit')
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`QEMU ended: ${said}`)
    const seen = await Promise.all(sockets.map((path) => isListenerSeen(path)))
    return seen.every(Boolean)
  })
  return {
    pid: child.pid!,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** A client of a UNIX socket that says nothing. */
export const holdSocket = async (file: string): Promise<Socket> => {
  const socket = connect(file)
  await once(socket, 'connect')
  return socket
}
