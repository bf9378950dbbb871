// A lease's storage daemon: started below a guard that outlives the agent, found again by the next one, ended by either.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../../protocol/errors.ts'
import { within } from '../../../protocol/host/within.ts'
import { guardEnvironment } from '../../guard-environment.ts'

/** How long the daemon outlives an agent that is gone or hangs, in milliseconds: a restart of the agent takes less. */
export const SILENCE_LIMIT_MS = 60_000

/** How often the agent says that it is there, in milliseconds. */
const BEAT_MS = 2_000

/** How long the guard may take to start the daemon, and to end it, in milliseconds. */
const START_LIMIT_MS = 30_000
const END_LIMIT_MS = 10_000

const END_POLL_MS = 20

export const guardSocket = (folder: string): string => join(folder, 'guard')
export const monitorSocket = (folder: string): string => join(folder, 'qmp')
export const nbdSocket = (folder: string): string => join(folder, 'nbd')
export const pidFile = (folder: string): string => join(folder, 'pid')

/** A value of QEMU's option syntax. */
const option = (text: string): string => text.replaceAll(',', ',,')

/** The option that no other process has. */
const monitorOption = (folder: string): string =>
  `socket,id=monitor,server=on,wait=off,path=${option(monitorSocket(folder))}`

/** The command line of the daemon; its guard notes its number, as the daemon of QEMU 5.2 does not do so itself. */
export const daemonArguments = (folder: string): string[] => [
  '--chardev',
  monitorOption(folder),
  '--monitor',
  'chardev=monitor',
  '--nbd-server',
  `addr.type=unix,addr.path=${option(nbdSocket(folder))}`,
]

/** A running daemon, as its agent holds it. */
export interface StorageDaemon {
  /** Resolves when the daemon has ended without `end`. */
  readonly lost: Promise<void>
  /** Ends it: its locks are free when this resolves. */
  end(): Promise<void>
  /** Stops speaking for it; it ends when no other agent does within SILENCE_LIMIT_MS. */
  leave(): void
}

/** Whether a process is the lease's daemon. */
const isDaemon = async (pid: number, folder: string): Promise<boolean> => {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return command.split('\0').includes(monitorOption(folder))
}

/** The daemon's process; null where there is none. */
export const daemonPid = async (folder: string): Promise<number | null> => {
  const pid = Number.parseInt(await readFile(pidFile(folder), 'utf8').catch(() => ''), 10)
  return Number.isSafeInteger(pid) && (await isDaemon(pid, folder)) ? pid : null
}

const killDaemon = async (folder: string): Promise<void> => {
  const deadlineMs = performance.now() + END_LIMIT_MS
  for (;;) {
    const pid = await daemonPid(folder)
    if (pid === null) return
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it has ended
    }
    if (performance.now() > deadlineMs)
      throw new VarveError('INTERNAL', `the storage daemon ${pid} of ${folder} cannot be ended`, { details: { pid } })
    await sleep(END_POLL_MS)
  }
}

const dial = (path: string): Promise<Socket | null> =>
  new Promise((resolve) => {
    const socket = createConnection({ path })
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(null))
  })

class Daemon implements StorageDaemon {
  readonly lost: Promise<void>
  readonly #folder: string
  readonly #socket: Socket
  readonly #beat: NodeJS.Timeout
  readonly #closed: Promise<void>
  #over = false

  constructor(folder: string, socket: Socket) {
    this.#folder = folder
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.resume()
    const closing = Promise.withResolvers<void>()
    const losing = Promise.withResolvers<void>()
    this.#closed = closing.promise
    this.lost = losing.promise
    socket.once('close', () => {
      clearInterval(this.#beat)
      closing.resolve()
      if (!this.#over) losing.resolve()
    })
    const say = (): void => void socket.write('alive\n')
    say()
    this.#beat = setInterval(say, BEAT_MS)
    this.#beat.unref()
  }

  async end(): Promise<void> {
    this.#over = true
    clearInterval(this.#beat)
    this.#socket.write('done\n')
    await within(this.#closed, END_LIMIT_MS)
    this.#socket.destroy()
    await killDaemon(this.#folder)
  }

  leave(): void {
    this.#over = true
    clearInterval(this.#beat)
    this.#socket.destroy()
  }
}

/** The daemon that runs in a lease's folder; null where there is none. */
export const joinDaemon = async (folder: string): Promise<StorageDaemon | null> => {
  const socket = await dial(guardSocket(folder))
  return socket === null ? null : new Daemon(folder, socket)
}

/** Ends whatever daemon runs in a lease's folder. */
export const endDaemon = async (folder: string): Promise<void> => {
  const daemon = await joinDaemon(folder)
  if (daemon === null) await killDaemon(folder)
  else await daemon.end()
}

const startFailure = (said: string): VarveError => {
  const missing = /(setpriv|qemu-storage-daemon).*(?:No such file|not found|ENOENT)|spawn (setpriv) ENOENT/u.exec(said)
  if (missing !== null) {
    const tool = missing[1] ?? missing[2] ?? ''
    const debian = tool === 'setpriv' ? 'util-linux' : 'qemu-system-common'
    const sentence = `${tool} is needed to read the disks of a machine that is off, and is not installed (Debian package ${debian})`
    return new VarveError('TOOL_MISSING', sentence)
  }
  return new VarveError('INTERNAL', `the storage daemon did not start: ${said || 'without a message'}`)
}

/** Starts the daemon in a folder that is there; TOOL_MISSING, INTERNAL. */
export const startDaemon = async (folder: string, silenceMs: number = SILENCE_LIMIT_MS): Promise<StorageDaemon> => {
  const program = fileURLToPath(new URL('./daemon-guard-process.ts', import.meta.url))
  const guard = spawn(process.execPath, [program, folder, String(silenceMs)], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  guard.unref()
  let said = ''
  try {
    await within(
      new Promise<void>((resolve) => {
        guard.once('error', (error) => {
          said = error.message
          resolve()
        })
        guard.stdout.setEncoding('utf8').on('data', (text: string) => {
          said += text
          if (said.includes('\n')) resolve()
        })
        guard.stdout.once('end', () => resolve())
      }),
      START_LIMIT_MS,
    )
  } finally {
    guard.stdout.destroy()
  }
  if (!said.startsWith('ready ')) {
    await endDaemon(folder)
    throw startFailure(said.replace(/^failed /u, '').trim())
  }
  const daemon = await joinDaemon(folder)
  if (daemon === null) throw startFailure('its guard has ended')
  return daemon
}
