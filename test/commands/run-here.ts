// Runs a command of either program inside the test's process, as often as a table needs: what it prints and its exit code.
import { vi } from 'vitest'
import { run as runAgentCommand } from '../../agent/main.ts'
import { run as runGatewayCommand } from '../../gateway/main.ts'

export type Program = 'varve-gateway' | 'varve-agent'

export interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const RUN: Readonly<Record<Program, (args: readonly string[]) => Promise<number>>> = {
  'varve-gateway': runGatewayCommand,
  'varve-agent': runAgentCommand,
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** How long a command may take before it is told to end, in milliseconds: it is one that should have ended by itself. */
const COMMAND_LIMIT_MS = 60_000

/** One after the other only: what the process writes meanwhile is taken for the command's. */
export const runHere = async (program: Program, args: readonly string[]): Promise<Said> => {
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    vi.spyOn(process[name], 'write').mockImplementation((part) => {
      said[name] += typeof part === 'string' ? part : Buffer.from(part).toString()
      return true
    })
  // what a command listens for, for as long as its process lives, is let go of after it
  const before = new Map(SIGNALS.map((name) => [name, process.listeners(name)]))
  const limit = setTimeout(() => process.emit('SIGTERM'), COMMAND_LIMIT_MS)
  try {
    return { code: await RUN[program](args), ...said }
  } finally {
    clearTimeout(limit)
    for (const [name, known] of before)
      for (const listener of process.listeners(name)) if (!known.includes(listener)) process.off(name, listener)
    vi.restoreAllMocks()
  }
}
