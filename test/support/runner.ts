// Commands of the two programs, run to their end by processes that have loaded the program already: its start takes longer
// than most commands do.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import type { RunnerAnswer, RunnerOrder } from './runner-process.ts'

export type ProgramName = 'gateway' | 'agent'

/** How a command ended. */
export interface Said {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const RUNNER = path.join(import.meta.dirname, 'runner-process.ts')

class Runner {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  readonly #said: { stdout: string; stderr: string } = { stdout: '', stderr: '' }
  #isSpent = false

  constructor(program: ProgramName) {
    const child = spawn(process.execPath, [RUNNER, program], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    for (const name of ['stdout', 'stderr'] as const)
      child[name]!.setEncoding('utf8').on('data', (text: string) => {
        this.#said[name] += text
        child.emit('said')
      })
    this.#child = child
    // a child that is left by its channel has no event of its own for the end of all three
    const ends = [once(child, 'exit'), once(child.stdout!, 'close'), once(child.stderr!, 'close')]
    this.#closed = Promise.all(ends).then(() => (this.#isSpent = true))
  }

  /** Whether it can run no further command. */
  get isSpent(): boolean {
    return this.#isSpent
  }

  /** One at a time. */
  async run(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Said> {
    const mark = `\0${randomUUID()}\0`
    this.#said.stdout = this.#said.stderr = ''
    const answered = Promise.withResolvers<RunnerAnswer>()
    this.#child.once('message', (answer) => answered.resolve(answer as RunnerAnswer))
    this.#child.send({ args, env, mark } satisfies RunnerOrder)
    const answer = await Promise.race([answered.promise, this.#closed.then(() => null)])
    if (answer === null || !answer.isOver) await this.#closed
    else while (!this.#hasEnded(mark)) await once(this.#child, 'said')
    const [stdout, stderr] = [this.#said.stdout.replace(mark, ''), this.#said.stderr.replace(mark, '')]
    return { code: answer?.code ?? this.#child.exitCode, stdout, stderr }
  }

  async end(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect()
    await this.#closed
  }

  #hasEnded(mark: string): boolean {
    return this.#said.stdout.endsWith(mark) && this.#said.stderr.endsWith(mark)
  }
}

/** Those that wait for a command. */
const idle: Readonly<Record<ProgramName, Runner[]>> = { gateway: [], agent: [] }

let isOn = false

/** Has `runCommand` used for the rest of this process, which has to call `endRunners` at its end. */
export const useRunners = (): void => void (isOn = true)

/** Whether commands are to go to runners: what is no test file, such as a benchmark, starts the programs themselves. */
export const haveRunners = (): boolean => isOn

export const endRunners = async (): Promise<void> => {
  await Promise.all(Object.values(idle).flatMap((runners) => runners.splice(0).map((runner) => runner.end())))
}

/**
 * Runs one command to its end, with the environment of this process and `more`; an undefined variable is left out. Commands
 * at the same time are in processes of their own.
 */
export const runCommand = async (
  program: ProgramName,
  args: readonly string[],
  more: Readonly<Record<string, string | undefined>> = {},
): Promise<Said> => {
  const all = Object.entries({ ...process.env, ...more })
  const env = Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== undefined))
  const runner = idle[program].pop() ?? new Runner(program)
  const said = await runner.run(args, env)
  if (!runner.isSpent) idle[program].push(runner)
  return said
}
