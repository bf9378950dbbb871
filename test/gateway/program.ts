// The gateway's program as a person runs it: short commands to their end, and a serving one until it is told to stop.
import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { haveRunners, runCommand } from '../support/runner.ts'

const MAIN = path.join(import.meta.dirname, '../../gateway/main.ts')

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Whom a command runs as, where that is somebody else. */
interface User {
  readonly uid?: number
  readonly gid?: number
}

/** A gateway of the person who runs the tests is none of theirs. */
const WITHOUT = { VARVE_DATA: undefined, VARVE_GATEWAY: undefined, VARVE_TOKEN_FILE: undefined } as const

const start = (args: readonly string[], env: Record<string, string>, user: User = {}): ChildProcess =>
  spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...WITHOUT, ...env },
    ...user,
  })

const output = (child: ChildProcess): { stdout: string; stderr: string } => {
  const text = { stdout: '', stderr: '' }
  child.stdout!.on('data', (part: Buffer) => (text.stdout += part.toString()))
  child.stderr!.on('data', (part: Buffer) => (text.stderr += part.toString()))
  return text
}

/** Runs one command to its end, in a process of its own, and as somebody else where that is said. */
export const runGatewayProgram = (
  args: readonly string[],
  env: Record<string, string> = {},
  user: User = {},
): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const child = start(args, env, user)
    const text = output(child)
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...text }))
  })

/** Runs one command to its end; one that serves in a process of its own. */
export const runGateway = (args: readonly string[], env: Record<string, string> = {}): Promise<Ended> =>
  haveRunners() && args[0] !== 'serve'
    ? runCommand('gateway', args, { ...WITHOUT, ...env })
    : runGatewayProgram(args, env)

/** A serving gateway; `await using` stops it. */
export class ServingGateway implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #text: { stdout: string; stderr: string }
  readonly #ended: Promise<Ended>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#text = output(child)
    this.#ended = new Promise((resolve) => child.on('close', (code) => resolve({ code, ...this.#text })))
  }

  /** Resolves once it has printed its address. */
  static async start(args: readonly string[]): Promise<ServingGateway> {
    const gateway = new ServingGateway(start(['serve', '--listen', '127.0.0.1:0', ...args], {}))
    const printed = new Promise<'printed'>((resolve) =>
      gateway.#child.stdout!.on('data', () => {
        if (gateway.#text.stdout.includes('\n')) resolve('printed')
      }),
    )
    const first = await Promise.race([printed, gateway.#ended])
    if (first !== 'printed') throw new Error(`serve ended with ${first.code}: ${first.stderr}`)
    return gateway
  }

  /** Resolves when it has ended, by itself or not. */
  get ended(): Promise<Ended> {
    return this.#ended
  }

  get url(): string {
    return this.#text.stdout.trim()
  }

  /** Its log lines so far. */
  get log(): string {
    return this.#text.stderr
  }

  /** Sends a signal that does not end it. */
  tell(signal: 'SIGHUP'): void {
    this.#child.kill(signal)
  }

  stop(signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL' = 'SIGTERM'): Promise<Ended> {
    this.#child.kill(signal)
    return this.#ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
