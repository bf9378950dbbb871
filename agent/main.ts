#!/usr/bin/env node
// The varve-agent program: its commands and their options.
import { realpathSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { asVarveError, VarveError } from '../protocol/errors.ts'
import { backup, type BackupCommand } from './commands/backup.ts'
import { forget, type ForgetCommand } from './commands/forget.ts'
import { machines, points, status } from './commands/list.ts'
import { beginOutput, print, printJson, watchOutput } from './commands/output.ts'
import { restore, type RestoreCommand } from './commands/restore.ts'
import { readToken, TOKEN_VARIABLE, type TokenOptions } from './commands/token.ts'
import { uninstall, type UninstallCommand } from './commands/uninstall.ts'
import { checkGateway, CONFIG_DEFAULT, readConfig } from './config.ts'
import { runAgent } from './daemon.ts'
import { enrolHost } from './enrol.ts'
import { openLog } from './log.ts'
import { readCa } from './session/once.ts'

const EXAMPLE = `
Configuration (${CONFIG_DEFAULT} unless --config says otherwise):
  gateway = "wss://backup.example:8470"
  ca = "/etc/varve/ca.pem"                  # optional: a CA of your own
  state = "/var/lib/varve-agent"
  [[machine]]
  name = "db1"
  qmp = "/run/qemu/db1.qmp"
  guest_agent = "/run/qemu/db1.qga"         # optional: freeze the guest at the instant
  exclude = ["swap0"]                       # optional

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 gateway or agent unreachable,
4 not allowed, 5 refused (exists, busy, or by policy), 130 interrupted.`

const configOption = (): Option =>
  new Option('--config <file>', 'the configuration').env('VARVE_AGENT_CONFIG').default(CONFIG_DEFAULT)
const jsonOption = (): Option => new Option('--json', 'print JSON').default(false)

export const program = new Command('varve-agent')
  .description('The agent of Varve: backs up the QEMU/KVM machines of this host and restores them.')
  .version('0.1.0')
  .addHelpText('after', EXAMPLE)
  .exitOverride()
  .showHelpAfterError('(--help shows the usage)')

program
  .command('enrol')
  .description("make this host an agent of the token's tenant")
  .requiredOption('--gateway <url>', "the gateway's address, such as wss://backup.example:8470")
  .option(
    '--token-file <file>',
    'file with the one-time token that "varve-gateway enrol" printed, "-" for standard input',
  )
  .option(
    '--token <token>',
    `the token itself, which other users of this host can see; "-" for standard input, none for ${TOKEN_VARIABLE} of the environment`,
  )
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (options: TokenOptions & { gateway: string; config: string; json: boolean }) => {
    const config = await readConfig(options.config)
    checkGateway('--gateway', options.gateway, config.insecure)
    const { gateway } = options
    const token = await readToken(options)
    const record = await enrolHost({ gateway, token, ca: await readCa(config.ca), state: config.state })
    printJson({ agent: record.agentId, tenant: record.tenantName, gateway: record.gateway })
    if (!options.json)
      print(`Enrolled as agent ${record.agentId} of tenant ${record.tenantName}. Next: varve-agent run`)
  })

program
  .command('run')
  .description('serve this host’s machines until told to stop; logs as JSON lines')
  .addOption(configOption())
  .action(async (options: { config: string }) => {
    const config = await readConfig(options.config)
    const stopped = new Promise<'TERM' | 'INT'>((resolve) => {
      process.once('SIGTERM', () => resolve('TERM'))
      process.once('SIGINT', () => resolve('INT'))
    })
    const ended = await runAgent(config, openLog({ level: config.log_level }), stopped)
    if (ended !== null) throw ended
  })

program
  .command('machines')
  .description('list the machines of this host as the gateway knows them')
  .addOption(configOption())
  .addOption(jsonOption())
  .action(machines)

program
  .command('status')
  .description('show how the agent and each machine are now')
  .addOption(configOption())
  .addOption(jsonOption())
  .action(status)

program
  .command('backup')
  .description('back a machine up; ends with 0 only once the restore point is durable and the machine is given back')
  .argument('<machine>', 'its name in the configuration')
  .option('--full', 'read every disk whole, even where a bitmap tells what changed', false)
  .option('--compare', 'read and compare all that is said to be unchanged with the restore point before', false)
  .option('--wait', 'wait while another backup of the machine runs or its agent is away', false)
  .addOption(configOption())
  .addOption(jsonOption())
  .action((machine: string, options: BackupCommand) => backup(machine, options))

program
  .command('points')
  .description('list restore points, newest first')
  .argument('[machine]', 'of one machine only')
  .addOption(configOption())
  .addOption(jsonOption())
  .action((machine: string | undefined, options: { config: string; json: boolean }) => points(machine, options))

program
  .command('restore')
  .description('write one disk of a restore point to a file or block device')
  .argument('<point>', 'its id, or the first characters of it')
  .requiredOption('--disk <name>', 'which disk')
  .requiredOption('--to <path>', 'a new file, or with --force an existing file or block device')
  .addOption(new Option('--format <format>', 'of the file').choices(['raw', 'qcow2']).default('raw'))
  .option('--force', 'replace what is there', false)
  .option(
    '--skip-damaged',
    'write what can be read where part of the disk is lost; ends with an error that lists it',
    false,
  )
  .addOption(configOption())
  .addOption(jsonOption())
  .action((point: string, options: RestoreCommand) => restore(point, options))

program
  .command('forget')
  .description("remove Varve's checkpoints from a machine; its next backup reads in full")
  .argument('<machine>', 'its name in the configuration')
  .option('--disk <name>', 'of one disk only')
  .addOption(configOption())
  .addOption(jsonOption())
  .action((machine: string, options: ForgetCommand) => forget(machine, options))

program
  .command('uninstall')
  .description('remove everything of Varve from the machines and this host but the configuration')
  .option('--force', 'remove the state folder even where something had to stay', false)
  .addOption(configOption())
  .addOption(jsonOption())
  .action((options: UninstallCommand) => uninstall(options))

/** What commander found wrong with the arguments; it has printed it already. */
const usageError = ({ code, message }: CommanderError): VarveError =>
  new VarveError(
    'PARAMS_INVALID',
    code === 'commander.help' ? 'no command is named: --help lists them' : message.replace(/^error: /u, ''),
  )

/** Runs one command to its end; the exit code. */
export const run = async (args: readonly string[]): Promise<number> => {
  const output = beginOutput(args)
  try {
    await program.parseAsync([...args], { from: 'user' })
    return output.end(null)
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return output.end(asVarveError(thrown))
    return thrown.exitCode === 0 ? output.explained() : output.end(usageError(thrown), { told: true })
  }
}

// what is done with it imported is the importer's business
if (import.meta.filename === realpathSync(process.argv[1] ?? '.')) {
  watchOutput()
  const args = process.argv.slice(2)
  process.exitCode = (await run(args)) || process.exitCode
  // leases that stay for the next start are still watched over in here, and would keep the process alive
  if (args[0] === 'run') process.exit()
}
