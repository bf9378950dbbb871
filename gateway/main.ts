#!/usr/bin/env node
// The varve-gateway program: its commands, put together.
import { realpathSync } from 'node:fs'
import { Command, Help, Option } from 'commander'
import { watchOutput } from '../protocol/host/output.ts'
import { runProgram } from '../protocol/host/program.ts'
import { VERSION } from '../protocol/host/version.ts'
import { addAgentCommands } from './commands/agent.ts'
import { addAuditCommands } from './commands/audit.ts'
import { addBackupCommands } from './commands/backup.ts'
import { addCoverageCommand } from './commands/coverage.ts'
import { addDiffCommand } from './commands/diff.ts'
import { addEventsCommand } from './commands/events.ts'
import { addForecastCommand } from './commands/forecast.ts'
import { addGoneCommands } from './commands/gone.ts'
import { addKeysCommands } from './commands/keys.ts'
import { addLoginCommand } from './commands/login.ts'
import { addMachineCommands } from './commands/machine.ts'
import { addNotifyCommands } from './commands/notify.ts'
import { dataFolder } from './commands/options.ts'
import { METRICS_LISTEN_EXAMPLE } from './commands/metrics-options.ts'
import { addPlanCommands } from './commands/plan.ts'
import { addPointCommands } from './commands/points.ts'
import { addPruneCommand } from './commands/prune.ts'
import { DATA_DEFAULT } from './commands/remote.ts'
import { addRepairCommand } from './commands/repair.ts'
import { addDrillCommands } from './commands/drill.ts'
import { addRestoreCommands } from './commands/restore.ts'
import { LISTEN_DEFAULT, LOG_LEVELS, serve, type ServeOptions } from './commands/serve.ts'
import { addRunsCommand } from './commands/runs.ts'
import { VERIFY_RATE_DEFAULT } from './commands/upkeep-options.ts'
import { addStoreCommands } from './commands/store.ts'
import { addTenantCommands } from './commands/tenant.ts'
import { addTokenCommands } from './commands/token.ts'

const EXAMPLE = `
Beside its data folder a gateway takes commands of the user that runs it, whether it runs or not; from anywhere it takes
those of a person with a token:
  (umask 077; varve-gateway token issue --tenant acme --role operator > ~/.varve-token)       # at the gateway
  export VARVE_GATEWAY=wss://backup.example:8470 VARVE_TOKEN_FILE=~/.varve-token
  varve-gateway backup db1

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 gateway or agent unreachable,
4 not allowed, 5 refused (exists, busy, or by a plan), 130 interrupted.`

/** Help does not show the default of a switch that is off by default. */
const optionDescription = (option: Option): string => {
  const shown = option.defaultValue === false ? new Option(option.flags, option.description) : option
  return new Help().optionDescription(shown)
}

const addServe = (program: Command): void => {
  program
    .command('serve')
    .description('run the gateway until SIGINT or SIGTERM; prints its address, logs as JSON lines')
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
    .option('--reserve <size>', 'disk space that uploads leave free (default: 1G, or 5 % of a smaller disk)')
    .option('--memory <size>', 'memory for calls, besides that of the gateway itself (default: 512M)')
    .option('--metrics-token-file <file>', 'serve /metrics on the port to whoever has the token in this file')
    .option(
      '--metrics-listen <host:port>',
      `serve /metrics on a loopback address too, such as ${METRICS_LISTEN_EXAMPLE}`,
    )
    .option('--backups-at-once <number>', 'backups that the gateway starts at once (64)')
    .option('--backups-at-once-per-host <number>', 'of them on one hypervisor (2)')
    .option('--backups-at-once-per-tenant <number>', 'of them of one tenant (16)')
    .option('--notify-private', 'let notifications of tenants go to private addresses, and to this host')
    .option('--no-upkeep', 'leave prune, gc, verify and the check of the audit log to people and their cron lines')
    .option('--quiet-hours <window>', 'when gc and verify may begin, such as 20:00-06:00 (default: always)')
    .option(
      '--verify-rate <size>',
      `how much verify reads in a second while no backup runs (default: ${VERIFY_RATE_DEFAULT})`,
    )
    .option(
      '--otlp-endpoint <url>',
      'send traces of backups to this collector (OTLP over HTTP), such as http://127.0.0.1:4318',
    )
    .option(
      '--config <file>',
      'TOML file with data, listen, tls_cert, tls_key, insecure, log_level, reserve, memory, metrics_token_file, metrics_listen, otlp_endpoint, notify_private, backups_at_once, backups_at_once_per_host, backups_at_once_per_tenant, upkeep, quiet_hours, verify_rate',
    )
    .action((options: ServeOptions) => serve(options))
}

/** The commands under the headings of help. */
const GROUPS: Readonly<Record<string, readonly ((program: Command) => void)[]>> = {
  'The gateway:': [addServe, addKeysCommands],
  'Who may do what:': [addTenantCommands, addLoginCommand, addTokenCommands, addAgentCommands, addAuditCommands],
  'Machines and backups:': [addMachineCommands, addPlanCommands, addBackupCommands, addRunsCommand],
  'Hearing of it:': [addCoverageCommand, addEventsCommand, addNotifyCommands],
  'Restore points:': [addPointCommands, addRestoreCommands, addDrillCommands, addDiffCommand, addPruneCommand],
  'The datastore:': [addStoreCommands, addForecastCommand, addRepairCommand],
}

/** The program with all its commands. */
export const makeProgram = (): Command => {
  const program = new Command('varve-gateway')
    .description('The gateway of Varve: stores and serves backups of QEMU/KVM machines.')
    .version(VERSION)
    .addHelpText('after', EXAMPLE)
    .exitOverride()
    .showHelpAfterError('(--help shows the usage)')
    .configureHelp({ optionDescription })
  for (const [heading, adders] of Object.entries(GROUPS)) {
    program.commandsGroup(heading)
    for (const add of adders) add(program)
  }
  addGoneCommands(program)
  return program
}

/** Runs one command to its end; the exit code. */
export const run = (args: readonly string[]): Promise<number> => runProgram(makeProgram(), args)

// the umask of a process that only imports this module stays as it is
if (import.meta.filename === realpathSync(process.argv[1] ?? '.')) {
  // files in the data folder are readable by the gateway's own user only, even where others may enter the folder
  process.umask(0o077)
  watchOutput('varve-gateway')
  process.exitCode = (await run(process.argv.slice(2))) || process.exitCode
}
