#!/usr/bin/env node
// The varve-gateway program: its commands, put together.
import { Command, Option } from 'commander'
import { asVarveError } from '../protocol/errors.ts'
import { EXIT, exitCode } from '../protocol/exit.ts'
import { addIdentityCommands } from './commands/identities.ts'
import { addKeysCommand } from './commands/keys.ts'
import { DATA_DEFAULT, watchOutput } from './commands/local.ts'
import { addMachineCommands } from './commands/machines.ts'
import { addPointCommands } from './commands/points.ts'
import { LOG_LEVELS, serve, type ServeOptions } from './commands/serve.ts'
import { addStoreCommands } from './commands/store.ts'

// everything in the data folder is for the gateway's own user, also in a folder that others may enter
process.umask(0o077)
watchOutput()

const program = new Command('varve-gateway')
  .description('The gateway of Varve: stores and serves backups of QEMU/KVM machines.')
  .version('0.1.0')
  .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage))
  .showHelpAfterError('(--help shows the usage)')

program
  .command('serve')
  .description('run the gateway until it is told to stop; prints its address, logs as JSON lines')
  .addOption(new Option('--data <dir>', `the data folder, made if needed (default: ${DATA_DEFAULT})`).env('VARVE_DATA'))
  .option('--listen <host:port>', 'where to listen (default: 127.0.0.1:8470; port 0 takes a free one)')
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

try {
  await program.parseAsync()
} catch (thrown) {
  const { code, message } = asVarveError(thrown)
  process.stderr.write(`varve-gateway: ${message} (${code})\n`)
  process.exitCode = exitCode(code)
}
