// Commands that there were once: whoever types one is told what to type instead.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'

const GONE: Readonly<Record<string, string>> = {
  policy:
    'policies are part of plans now: see "varve-gateway plan set --help"; the group of a machine: varve-gateway machine group MACHINE GROUP',
  retention:
    'rules of retention are part of plans now: see "varve-gateway plan set --help" and "varve-gateway plan list"',
}

/** Adds them, hidden. */
export const addGoneCommands = (program: Command): void => {
  for (const [name, sentence] of Object.entries(GONE))
    program
      .command(name, { hidden: true })
      .allowUnknownOption()
      .allowExcessArguments()
      .helpOption(false)
      .action(() => {
        throw new VarveError('PARAMS_INVALID', `there is no command "${name}" any more: ${sentence}`)
      })
}
