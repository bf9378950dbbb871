#!/usr/bin/env node
// The varve-gateway program: its commands, put together.
import { realpathSync } from 'node:fs'
import { Command, CommanderError, Help, Option } from 'commander'
import { asVarveError, VarveError } from '../protocol/errors.ts'
import { addIdentityCommands } from './commands/identities.ts'
import { addKeysCommand } from './commands/keys.ts'
import { DATA_DEFAULT } from './commands/local.ts'
import { addMachineCommands } from './commands/machines.ts'
import { dataFolder } from './commands/options.ts'
import { beginOutput, watchOutput } from '../protocol/host/output.ts'
import { addPointCommands } from './commands/points.ts'
import { LISTEN_DEFAULT, LOG_LEVELS, serve, type ServeOptions } from './commands/serve.ts'
import { addStoreCommands } from './commands/store.ts'

/** Of a switch that is off unless it is given, help does not say so. */
const optionDescription = (option: Option): string => {
  const shown = option.defaultValue === false ? new Option(option.flags, option.description) : option
  return new Help().optionDescription(shown)
}

/** The program with all its commands. */
export const makeProgram = (): Command => {
  const program = new Command('varve-gateway')
    .description('The gateway of Varve: stores and serves backups of QEMU/KVM machines.')
    .version('0.1.0')
    .exitOverride()
    .showHelpAfterError('(--help shows the usage)')
    .configureHelp({ optionDescription })
  program
    .command('serve')
    .description('run the gateway until it is told to stop; prints its address, logs as JSON lines')
    .addOption(
      new Option('--data <dir>', `the data folder, made if needed (default: ${DATA_DEFAULT})`)
        .argParser(dataFolder)
        .env('VARVE_DATA'),
    )
    .option('--listen <host:port>', `where to listen (default: ${LISTEN_DEFAULT}; port 0 takes a free one)`)
    .option('--tls-cert <file>', 'certificate chain, PEM')
    .option('--tls-key <file>', 'private key of the certificate, PEM')
    .option('--insecure', 'allow plain connections on an address that is not loopback')
    .addOption(new Option('--log-level <level>', 'how much is logged (default: info)').choices(LOG_LEVELS))
    .option('--reserve <size>', 'what uploads leave free of the disk (default: 1G, or 5 % of a smaller disk)')
    .option('--memory <size>', 'what callers can make the gateway hold in memory, beside its own (default: 512M)')
    .option('--config <file>', 'TOML file with data, listen, tls_cert, tls_key, insecure, log_level, reserve, memory')
    .action((options: ServeOptions) => serve(options))
  addIdentityCommands(program)
  addKeysCommand(program)
  addMachineCommands(program)
  addPointCommands(program)
  addStoreCommands(program)
  return program
}

/** What commander found wrong with the arguments; it has printed it already. */
const usageError = ({ code, message }: CommanderError): VarveError =>
  new VarveError(
    'PARAMS_INVALID',
    code === 'commander.help' ? 'no command is named: --help lists them' : message.replace(/^error: /u, ''),
  )

/** Runs one command to its end; the exit code. */
export const run = async (args: readonly string[]): Promise<number> => {
  const output = beginOutput('varve-gateway', args)
  try {
    await makeProgram().parseAsync([...args], { from: 'user' })
    return output.end(null)
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return output.end(asVarveError(thrown))
    return thrown.exitCode === 0 ? output.explained() : output.end(usageError(thrown), { told: true })
  }
}

// what is written with it imported is the importer's business
if (import.meta.filename === realpathSync(process.argv[1] ?? '.')) {
  // everything in the data folder is for the gateway's own user, also in a folder that others may enter
  process.umask(0o077)
  watchOutput('varve-gateway')
  process.exitCode = (await run(process.argv.slice(2))) || process.exitCode
}
