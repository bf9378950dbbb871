// Runs commands of one of the programs as its parent tells them, one after the other: what the program consists of is loaded
// once.
//
// Usage: node runner-process.ts gateway|agent   with an IPC channel, on which each command comes as a RunnerOrder.
import { createReadStream, type ReadStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** One command, with all that a process of its own would have been given. */
export interface RunnerOrder {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Ends what the command says on each of its two streams. */
  readonly mark: string
}

/** How a command ended; one that leaves something that would keep its process alive takes this process with it. */
export interface RunnerAnswer {
  readonly code: number
  readonly isOver: boolean
}

/** How long what a command leaves behind may take to end before this process is given up, in milliseconds. */
const LINGER_MS = 500
const LOOK_INTERVAL_MS = 2

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

const isGateway = process.argv[2] === 'gateway'
const { run } = isGateway ? await import('../../gateway/main.ts') : await import('../../agent/main.ts')
if (isGateway) process.umask(0o077)

// each command reads its own standard input, which is empty
let input: ReadStream | null = null
Object.defineProperty(process, 'stdin', { get: () => (input ??= createReadStream('/dev/null')) })

/** How much of each kind keeps the process alive. */
const active = (): Map<string, number> => {
  const kinds = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  return kinds
}

/** Whether a process of the command's own would have ended by now. */
const ends = async (before: ReadonlyMap<string, number>): Promise<boolean> => {
  const deadline = performance.now() + LINGER_MS
  while ([...active()].some(([kind, count]) => count > (before.get(kind) ?? 0))) {
    if (performance.now() > deadline) return false
    await sleep(LOOK_INTERVAL_MS)
  }
  return true
}

const setEnvironment = (env: Readonly<Record<string, string>>): void => {
  for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name]
  Object.assign(process.env, env)
}

const written = (stream: NodeJS.WriteStream, text: string): Promise<void> =>
  new Promise((resolve) => void stream.write(text, () => resolve()))

/** What the command's output has made of it, if anything. */
const exitCode = (): number => Number(process.exitCode ?? 0)

const perform = async ({ args, env, mark }: RunnerOrder): Promise<void> => {
  setEnvironment(env)
  input = null
  process.exitCode = undefined
  const known = new Map(SIGNALS.map((name) => [name, process.listeners(name)]))
  const before = active()
  const code = (await run(args)) || exitCode()
  process.exitCode = code
  const isOver = await ends(before)
  for (const [name, listeners] of known)
    for (const one of process.listeners(name)) if (!listeners.includes(one)) process.off(name, one)
  await Promise.all([written(process.stdout, mark), written(process.stderr, mark)])
  process.send?.({ code, isOver } satisfies RunnerAnswer, () => {
    if (isOver) return
    // it ends as the command's own process would have: an agent's that failed waits no longer
    process.off('disconnect', leave)
    process.disconnect?.()
    if (!isGateway && code !== 0) process.exit()
  })
}

const leave = (): void => process.exit()
process.on('disconnect', leave)
process.on('message', (order) => void perform(order as RunnerOrder))
// both streams are there before the first command, which would seem to have opened them
await Promise.all([written(process.stdout, ''), written(process.stderr, '')])
