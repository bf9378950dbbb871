// A program that runs in the background for the demonstration, with its output in a log file.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Longest time from the first signal to the end, in milliseconds; then the program is killed. */
const STOP_TIMEOUT_MS = 15_000
const POLL_MS = 50
const LOG_LINES_SHOWN = 15

/** What agent/varve-agent and gateway/varve-gateway add to the environment. */
export const ENVIRONMENT = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '33554432',
  MALLOC_TRIM_THRESHOLD_: '67108864',
} as const

/** Disposing it ends the program. It leads a process group of its own, so a Ctrl-C in the terminal is ours to handle. */
export class Service implements AsyncDisposable {
  readonly name: string
  readonly logFile: string
  readonly pid: number
  readonly #child: ChildProcess
  #over = false

  private constructor(name: string, logFile: string, child: ChildProcess) {
    if (child.pid === undefined) throw new Error(`${name} did not start`)
    this.name = name
    this.logFile = logFile
    this.pid = child.pid
    this.#child = child
    child.once('exit', () => (this.#over = true))
  }

  static async start(name: string, logFile: string, command: string, args: readonly string[]): Promise<Service> {
    await using log = await open(logFile, 'a')
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: { ...ENVIRONMENT, ...process.env },
    })
    await once(child, 'spawn')
    return new Service(name, logFile, child)
  }

  /** Waits until `ready` gives true; throws when the program ends or the time is over. */
  async until(ready: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    while (!(await ready())) {
      if (this.#over) throw new Error(`the ${this.name} ended; see ${this.logFile}`)
      if (performance.now() > deadlineMs) throw new Error(`the ${this.name} was not ready after ${timeoutMs} ms`)
      await sleep(POLL_MS)
    }
  }

  /** The last lines of its log. */
  async tail(): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '')
    return text.trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return
    const exited = once(this.#child, 'exit')
    // An interrupted agent gives up what it holds in QEMU; a terminated one would keep it for its next start.
    this.#child.kill('SIGINT')
    const killer = setTimeout(() => {
      console.error(`The ${this.name} did not stop within ${STOP_TIMEOUT_MS / 1000} s and was killed.`)
      this.#child.kill('SIGKILL')
    }, STOP_TIMEOUT_MS)
    await exited
    clearTimeout(killer)
  }
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no TCP port is free')
  return address.port
}

/** True when something accepts connections on the port. */
export const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
