#!/usr/bin/env node
// The varve-agent program: its commands and their options. What a command needs is loaded with it: to load all of it takes longer
// than a small increment.
import { realpathSync } from 'node:fs'
import { Command, Option } from 'commander'
import { asVarveError } from '../protocol/errors.ts'
import type { BackupCommand } from './commands/backup.ts'
import type { DiscoverCommand } from './commands/discover.ts'
import type { ExportCommand } from './commands/export.ts'
import type { ForgetCommand } from './commands/forget.ts'
import { addExternal } from './commands/external/options.ts'
import { addDrill } from './commands/drill/options.ts'
import { addLease } from './commands/lease-options.ts'
import { addInstant } from './commands/instant/options.ts'
import { interruption } from '../protocol/host/interruption.ts'
import { orAbort } from '../protocol/host/within.ts'
import { print, printJson, remark, watchOutput } from '../protocol/host/output.ts'
import type { Moment } from '../protocol/host/moment.ts'
import { addRestore } from './commands/restore-options.ts'
import { readToken, TOKEN_VARIABLE, type TokenOptions } from './commands/token.ts'
import type { UninstallCommand } from './commands/uninstall.ts'
import { duration, listenAddress, moment, pointPrefix, size } from './commands/options.ts'
import { toGateway, type WayOptions } from './commands/way.ts'
import { checkGateway, CONFIG_DEFAULT, readConfig, type AgentConfig } from './config.ts'
import { readHostConfig } from './discover/host-config.ts'
import { runProgram } from '../protocol/host/program.ts'
import { VERSION } from '../protocol/host/version.ts'
import { readAuthority } from '../protocol/host/authority-file.ts'

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
  [[machine]]
  name = "web1"
  domain = "web1"                           # a domain of libvirt; uri = "qemu:///system" unless said otherwise
  [[machine]]
  name = "archive"                          # never runs here, or is always off when it is read
  disks = [{ name = "vda", path = "/srv/archive.qcow2" }]
  [discover]                                # optional: domains that become machines by themselves
  libvirt = "qemu:///system"
  include = ["web-*"]                       # "*" is any text, "?" one character
"varve-agent discover" prints this for the machines of this host.
With --gateway URL --token-file FILE, machines, points, restore, export, instant and drill need none of it.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 gateway or agent unreachable,
4 not allowed, 5 refused (exists, busy, or by a plan), 7 a drill failed, 130 interrupted.`

/** How long work that a failed command has abandoned may take to end, in milliseconds. */
const LINGER_MS = 500

const configOption = (): Option =>
  new Option('--config <file>', 'the configuration').env('VARVE_AGENT_CONFIG').default(CONFIG_DEFAULT)
const timeoutOption = (what: string): Option => new Option('--timeout <duration>', what).argParser(duration)
const lookTimeoutOption = (): Option =>
  timeoutOption('how long to wait for an answer, such as 30s (default: 10s); then exits with 3')
const workTimeoutOption = (what: string): Option =>
  timeoutOption(
    `how long to wait for ${what}, such as 15m; then exits with 3 (default: 30s to begin, then without limit)`,
  )
const POINT = 'its id, or the first characters of its id; with --at the name of a machine'
const atOption = (what: string): Option =>
  new Option(
    '--at <time>',
    `${what} at or before then, such as "2026-11-28 14:00" (of this host), 2026-11-28T14:00Z, 90m (ago) or now`,
  ).argParser(moment)
const jsonOption = (): Option => new Option('--json', 'print JSON').default(false)

/** A command that only looks, as the agent of this host or as a person. */
interface AnyLook extends WayOptions {
  readonly json: boolean
  readonly timeout?: number
}

/** A command that only looks. */
interface Look extends Omit<AnyLook, keyof WayOptions> {
  readonly config: string
}

interface EnrolCommand extends TokenOptions {
  readonly gateway: string
  readonly force: boolean
  readonly config: string
  readonly json: boolean
}

export const program = new Command('varve-agent')
  .description('The agent of Varve: backs up the QEMU/KVM machines of this host and restores them.')
  .version(VERSION)
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
    `the token itself, which other users of this host can see; "-" for standard input; without either option, ${TOKEN_VARIABLE} in the environment`,
  )
  .addOption(configOption())
  .addOption(jsonOption())
  .option('--force', 'become a new agent even if this host is one already; the previous identity is kept', false)
  .action(async (options: EnrolCommand) => {
    const config = await readHostConfig(options.config)
    checkGateway('--gateway', options.gateway, config.insecure)
    const { gateway, force } = options
    const { signal } = interruption()
    const token = await orAbort(readToken(options), signal)
    const ca = await readAuthority('"ca"', config.ca)
    const { enrolHost, whatFollows } = await import('./enrol.ts')
    const enrolled = await enrolHost({ gateway, token, force, ca, state: config.state, signal })
    const { record, former } = enrolled
    const { agentId: agent, tenantName: tenant } = record
    if (options.json) {
      if (former === null) whatFollows(enrolled, config).forEach(remark)
      return printJson({ agent, tenant, gateway: record.gateway, former: former?.agentId ?? null })
    }
    print(`Enrolled as agent ${agent} of tenant ${tenant}. Next: varve-agent run`)
    whatFollows(enrolled, config).forEach(print)
  })

program
  .command('run')
  .description('serve this host’s machines until stopped; reloads its configuration on SIGHUP; logs JSON lines')
  .addOption(configOption())
  .action(async (options: { config: string }) => {
    const config = await readConfig(options.config)
    const stopped = new Promise<'TERM' | 'INT'>((resolve) => {
      process.once('SIGTERM', () => resolve('TERM'))
      process.once('SIGINT', () => resolve('INT'))
    })
    const { openLog } = await import('../protocol/host/log.ts')
    const log = openLog({ level: config.log_level })
    // until the agent is up, its configuration is fresh anyway
    let reload: ((read: AgentConfig) => void) | null = null
    const onHangUp = async (): Promise<void> => {
      try {
        const read = await readConfig(options.config)
        reload?.(read)
      } catch (thrown) {
        log.error(
          { reason: asVarveError(thrown).message },
          'the configuration cannot be reloaded: the previous one stays in effect',
        )
      }
    }
    process.on('SIGHUP', () => void onHangUp())
    const { runAgent } = await import('./daemon.ts')
    const ended = await runAgent(config, log, stopped, (taken) => (reload = taken))
    if (ended !== null) throw ended
  })

program
  .command('discover')
  .description('show the machines that this host has, and print the configuration to paste')
  .option('--uri <uri>', 'ask this libvirt alone (default: those of the configuration and of this host)')
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (options: DiscoverCommand) => (await import('./commands/discover.ts')).discover(options))

toGateway(program.command('machines'))
  .description('list the machines of this host, or of your tenant, as the gateway knows them')
  .addOption(lookTimeoutOption())
  .addOption(jsonOption())
  .action(async (options: AnyLook) => (await import('./commands/list.ts')).machines(options))

program
  .command('status')
  .description('show the state of the agent and of each machine')
  .argument('[machine]', 'only this machine')
  .option('--local', 'ask just the agent on this host: its link, leases, scratch space and rates', false)
  .addOption(lookTimeoutOption())
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (machine: string | undefined, options: Look & { readonly local: boolean }) =>
    (await import('./commands/list.ts')).status(machine, options),
  )

program
  .command('checkpoints')
  .description('show the checkpoints of a machine, what each has recorded, and whether the next backup can use it')
  .argument('<machine>', 'its name in the configuration')
  .addOption(lookTimeoutOption())
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (machine: string, options: Look) =>
    (await import('./commands/checkpoints.ts')).checkpoints(machine, options),
  )

program
  .command('backup')
  .description('back up a machine; exits with 0 only once the restore point is durable and the machine is released')
  .argument('<machine>', 'its name in the configuration')
  .option('--full', 'read every disk in full, even where a bitmap records what changed', false)
  .option('--compare', 'read everything recorded as unchanged and compare it with the previous restore point', false)
  .option('--wait', 'wait while another backup of the machine runs or its agent is not connected', false)
  .addOption(workTimeoutOption('gateway and agent'))
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (machine: string, options: BackupCommand) =>
    (await import('./commands/backup.ts')).backup(machine, options),
  )

toGateway(program.command('points'))
  .description('list restore points, newest first')
  .argument('[machine]', 'only this machine')
  .addOption(atOption('only the newest point of the machine'))
  .addOption(lookTimeoutOption())
  .addOption(jsonOption())
  .action(async (machine: string | undefined, options: AnyLook & { readonly at?: Moment }) =>
    (await import('./commands/list.ts')).points(machine, options),
  )

addRestore(program, { point: POINT, atOption, workTimeoutOption, jsonOption })

toGateway(program.command('export'))
  .description(
    'serve disks of a restore point over NBD, read-only, until it is interrupted: what is read comes from the gateway',
  )
  .argument('<point>', POINT)
  .addOption(atOption('the newest point of the machine'))
  .option('--disk <name>', 'only this disk; without it all of them, each under its name')
  .option('--socket <path>', 'a UNIX socket, for this user only')
  .addOption(
    new Option('--tcp <host:port>', 'a TCP port instead, which every user of this host can read').argParser(
      listenAddress,
    ),
  )
  .option('--allow-remote', 'with --tcp: also on an address that other hosts reach', false)
  .addOption(
    new Option(
      '--changed-since <point>',
      'offer what differs from this point as context varve:changed:POINT',
    ).argParser(pointPrefix),
  )
  .addOption(new Option('--cache-memory <size>', 'memory for chunks').argParser(size).default(64 * 1024 ** 2, '64M'))
  .option('--cache-disk <folder>', 'a folder for a cache on disk, which is gone when it ends')
  .addOption(new Option('--cache-disk-size <size>', 'its size').argParser(size).default(1024 ** 3, '1G'))
  .addOption(
    new Option('--reconnect-for <duration>', 'how long reads wait for a gateway that is away before they fail')
      .argParser(duration)
      .default(10 * 60_000, '10m'),
  )
  .addOption(jsonOption())
  .action(async (point: string, options: ExportCommand) =>
    (await import('./commands/export.ts')).exportPoint(point, options),
  )

addExternal(program, { jsonOption, lookTimeoutOption, workTimeoutOption })
addInstant(program, { configOption, jsonOption, atOption, workTimeoutOption })
addDrill(program, { point: POINT, atOption, jsonOption, workTimeoutOption })

addLease(program, { configOption, jsonOption, lookTimeoutOption, workTimeoutOption })

program
  .command('forget')
  .description("remove Varve's checkpoints from a machine; its next backup reads in full")
  .argument('<machine>', 'its name in the configuration')
  .option('--disk <name>', 'only this disk')
  .addOption(lookTimeoutOption())
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (machine: string, options: ForgetCommand) =>
    (await import('./commands/forget.ts')).forget(machine, options),
  )

program
  .command('rotate-key')
  .description('give this agent a new key; the old one is worth nothing afterwards')
  .addOption(lookTimeoutOption())
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (options: Look) => (await import('./commands/rotate-key.ts')).rotateKeyCommand(options))

program
  .command('uninstall')
  .description("remove everything of Varve's from the machines and this host, except the configuration")
  .option('--force', 'remove the state folder even if something could not be removed', false)
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (options: UninstallCommand) => (await import('./commands/uninstall.ts')).uninstall(options))

/** Runs one command to its end; the exit code. */
export const run = (args: readonly string[]): Promise<number> => runProgram(program, args)

// an importer runs its own commands
if (import.meta.filename === realpathSync(process.argv[1] ?? '.')) {
  watchOutput('varve-agent')
  const args = process.argv.slice(2)
  process.exitCode = (await run(args)) || process.exitCode
  // the watches of leases kept for the next start would keep the process alive
  if (args[0] === 'run') process.exit()
  // abandoned work, such as an unanswered name lookup, must not delay the exit
  if (process.exitCode !== 0) setTimeout(() => process.exit(), LINGER_MS).unref()
}
