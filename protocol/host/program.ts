// One run of a program: its commands, what it prints, its exit code.
import { CommanderError, type Command } from 'commander'
import { asVarveError, VarveError } from '../errors.ts'
import { asFileError } from './file-error.ts'
import { beginOutput } from './output.ts'

/** What commander found wrong with the arguments; it has printed it already. */
const usageError = ({ code, message }: CommanderError): VarveError =>
  new VarveError(
    'PARAMS_INVALID',
    code === 'commander.help' ? 'no command is named: --help lists them' : message.replace(/^error: /u, ''),
  )

/** Runs one command to its end; the exit code. */
export const runProgram = async (program: Command, args: readonly string[]): Promise<number> => {
  const output = beginOutput(program.name(), args)
  try {
    await program.parseAsync([...args], { from: 'user' })
    return output.end(null)
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return output.end(asVarveError(asFileError(thrown)))
    return thrown.exitCode === 0 ? output.explained() : output.end(usageError(thrown), { told: true })
  }
}
