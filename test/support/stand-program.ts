// A program of ours as a process of its own, which a test can signal, kill and wait for.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { haveRunners, runCommand, type ProgramName, type Said } from './runner.ts'
import { eventually } from './temp.ts'

export type { Said } from './runner.ts'

const root = path.resolve(import.meta.dirname, '../..')
const GATEWAY_PROGRAM = path.join(root, 'gateway/main.ts')
const AGENT_PROGRAM = path.join(root, 'agent/main.ts')
const SET_CLOCK = path.join(root, 'test/support/set-clock.ts')

/** How a program ended. */
export interface Outcome extends Said {
  readonly signal: NodeJS.Signals | null
}

export class Program implements AsyncDisposable {
  readonly ended: Promise<Outcome>
  readonly #child: ChildProcess
  readonly #output: { stdout: string; stderr: string } = { stdout: '', stderr: '' }

  /**
   * Runs one of the two programs, or a file of the test's own; `clock` names a file that holds what its time of day is
   * ahead, in milliseconds.
   */
  constructor(program: 'gateway' | 'agent' | (string & {}), args: readonly string[] = [], clock: string | null = null) {
    const file = program === 'gateway' ? GATEWAY_PROGRAM : program === 'agent' ? AGENT_PROGRAM : program
    const preload = clock === null ? [] : ['--import', SET_CLOCK]
    const env = clock === null ? process.env : { ...process.env, VARVE_TEST_CLOCK: clock }
    const child = spawn(process.execPath, [...preload, file, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env })
    child.stdout.on('data', (chunk: Buffer) => void (this.#output.stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => void (this.#output.stderr += chunk.toString()))
    this.#child = child
    this.ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...this.#output }))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  get stdout(): string {
    return this.#output.stdout
  }

  get stderr(): string {
    return this.#output.stderr
  }

  /** Waits for something in what it says. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    return await eventually(() => {
      const found = pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
      if (found === null && !this.running) throw new Error(`it ended without saying ${pattern}: ${this.stderr}`)
      return found
    })
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async end(name: NodeJS.Signals): Promise<Outcome> {
    if (this.running) this.signal(name)
    return await this.ended
  }

  /** Processes that it started and that still run. */
  async children(): Promise<number[]> {
    const text = await readFile(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').catch(() => '')
    return text.split(' ').filter(Boolean).map(Number)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL')
  }
}

/**
 * Commands that hold nothing beyond their end; the others, whose guards and notes look at the process that made them, are in
 * one of their own.
 */
const SHARED: ReadonlySet<string> = new Set(['backup', 'checkpoints', 'machines', 'points', 'restore', 'status'])

/** Runs a command of a program to its end. */
export const runProgram = (program: ProgramName, args: readonly string[]): Promise<Said> =>
  haveRunners() && (program === 'gateway' || SHARED.has(args[0] ?? ''))
    ? runCommand(program, args)
    : new Program(program, args).ended

/** Whether a process is there (one that only waits for its parent is not). */
export const isAlive = async (pid: number): Promise<boolean> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/\) [ZX] /.test(stat)
}
