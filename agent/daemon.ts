// The running agent: one connection to the gateway, one to each machine, and the backups between them.
import { hostname } from 'node:os'
import { asVarveError, VarveError, type ErrorCode } from '../protocol/errors.ts'
import type { Result } from '../protocol/methods.ts'
import type { Peer } from '../protocol/peer.ts'
import { Backups, type BackupsOptions } from './backup.ts'
import { systemClock } from '../protocol/host/clock.ts'
import type { AgentConfig } from './config.ts'
import type { DriverHost, LeaseDriver, Machine } from './drivers/driver.ts'
import type { LeaseJournal } from './drivers/journal.ts'
import { isExternal } from './drivers/external/machines.ts'
import type { Offer } from './drivers/external/offer.ts'
import { Offers } from './drivers/external/offers.ts'
import { Records } from './drivers/external/records.ts'
import { Drivers, openJournal } from './drivers/registry.ts'
import { serveLeases, type LeaseServerOptions } from './external/lease-server.ts'
import { formerAgents } from './former-identities.ts'
import { FreezeNotes } from './guest/freeze-notes.ts'
import { Thawer } from './guest/thawer.ts'
import { handlersOf, type Served } from './handlers.ts'
import { runOwedHooks } from './hooks/owed-hooks.ts'
import { Identity } from './identity.ts'
import { KeepServed } from './instant/keep-served.ts'
import { Inventory } from './inventory.ts'
import { targetLeases } from './leases/open-leases.ts'
import { LiveConfig } from './live-config.ts'
import type { Log } from '../protocol/host/log.ts'
import { DAY_MS } from '../protocol/host/duration.ts'
import { noteRefusals } from './refusals.ts'
import { Relay, type RelayOptions } from './relay.ts'
import { OrderedRestores } from './restore/ordered.ts'
import { RestoreNotes } from './restore/restore-notes.ts'
import { concernsOf } from './session/concerns.ts'
import { serveCommands } from './local/commands-server.ts'
import { GatewayLink } from './session/link.ts'
import { connect } from './session/once.ts'
import type { Dialled } from '../protocol/host/dial.ts'
import { LinkRecord } from './status/link-record.ts'
import { openStatus } from './status/open-status.ts'
import { Traffic } from './status/traffic.ts'
import { makeStateFolder } from './state-folder.ts'
import { lockState } from './state-lock.ts'

/** The gateway no longer knows this agent, so nothing will resume its leases or say what became of them. */
const GONE_FOR_GOOD: ReadonlySet<ErrorCode> = new Set(['AGENT_REVOKED', 'TOKEN_KEY_UNKNOWN'])

/** How often to warn of a certificate that expires soon or of a wrong clock, in milliseconds. */
const WARN_INTERVAL_MS = DAY_MS

/**
 * Runs until the signal: `TERM` keeps leases for the next start, `INT` releases them. Resolves with what ended the link for
 * good, or null. `onReloadable` receives the function that applies a reloaded configuration.
 */
export const runAgent = async (
  first: AgentConfig,
  log: Log,
  stopped: Promise<'TERM' | 'INT'>,
  onReloadable: (reload: (read: AgentConfig) => void) => void = () => {},
): Promise<VarveError | null> => {
  // one shared object: a reload changes it in place
  const config = { ...first, machines: [...first.machines], relay: [...first.relay] }
  await makeStateFolder(config.state)
  await using resources = new AsyncDisposableStack()
  resources.use(await lockState(config.state))
  // before anything that may fail or wait: a guest that was left frozen needs neither identity nor gateway nor QMP
  const thawer = resources.use(new Thawer({ notes: FreezeNotes.in(config.state), log }))
  thawer.start()
  runOwedHooks(config.state, log)
  const identity = await Identity.load(config.state)
  for (const left of await RestoreNotes.in(config.state).settle()) log.warn({ left }, 'a restore was killed')
  const journal = await journalOf(config.state, log)
  const former = await formerAgents(config.state)
  const linkRecord = new LinkRecord(systemClock)
  const traffic = new Traffic(systemClock)
  const agents = [identity.record.agentId, ...former]
  let inventory: Inventory | null = null
  const onMoved = (machine: string): void => inventory?.changed(machine)
  const reserveBytes = config.scratch_reserve
  const offers = new Offers()
  const host: DriverHost = { stateFolder: config.state, offers, agents, journal, thawer, reserveBytes, log, onMoved }
  const drivers = resources.use(await Drivers.open(host))
  const driverOf = (machine: Pick<Machine, 'driver'>): LeaseDriver => drivers.of(machine)
  // before the gateway answers and whatever it says: it may be away for long
  for (const machine of config.machines) driverOf(machine).attach(machine)
  try {
    await drivers.watchLeft()
  } catch (error) {
    log.error({ err: error }, 'the lease journal cannot be read')
  }
  const leases = targetLeases(config, { drivers, journal, jobOf: (machine) => backups.jobOf(machine), log })
  const parts = {
    identity,
    formerAgents: former,
    drivers,
    journal,
    leases,
    link: (): GatewayLink => link,
    traffic,
    log,
  }
  const backups: Backups = resources.use(backupsOf(config, parts))
  const relay = relayOf(config, { driverOf, backups, leases })
  const announced = resources.use(inventoryOf(config, identity, { backups, driverOf }, log))
  inventory = announced
  // until there is a link, it will dial with all that is new anyway
  let opened: GatewayLink | null = null
  const external = new Set(await new Records(config.state).machines())
  const live = resources.use(
    new LiveConfig({
      config,
      external: () => [...external],
      driverOf,
      isBusy: (machine) => backups.jobOf(machine) !== null || leases.of(machine) !== null,
      onMachine: (machine) => announced.changed(machine),
      onReconnect: (why) => opened?.reconnect(new VarveError('CONNECTION_LOST', why)),
      clock: systemClock,
      log,
    }),
  )
  await live.start()
  if (external.size > 0) live.takeExternal()
  const forget: Drivers['forget'] = (machine, disk) => drivers.forget(machine, disk)
  const restores = resources.use(orderedRestores(config, () => link, log))
  void leases.resume()
  const served = { inventory: announced, backups, leases, relay, restores, forget }
  resources.use(new KeepServed(config.state, log))
  resources.use(await openStatus({ config, record: linkRecord, backups, leases, journal, traffic, log }))
  const sessions = new WeakMap<Peer, Dialled>()
  const link: GatewayLink = resources.use(gatewayLink(config, identity, served, { record: linkRecord, sessions, log }))
  opened = link
  const session = (): Dialled | null => (link.current === null ? null : (sessions.get(link.current) ?? null))
  resources.use(await lendSession(config, session, log))
  const announce = async ({ machine }: Offer): Promise<void> => {
    external.add(machine)
    live.takeExternal()
    refuseOwn(config, machine)
    await announced.told(machine)
  }
  resources.use(await takeLeases({ ...config, offers, announce }, log))
  onReloadable((read) => live.reload(read))
  const ended = await Promise.race([stopped, link.ended()])
  await leave(ended, served)
  return typeof ended === 'string' ? null : ended
}

const journalOf = (stateFolder: string, log: Log): Promise<LeaseJournal> =>
  openJournal(stateFolder, {
    onDamaged: (file, movedTo, cause) => log.error({ file, movedTo, err: cause }, 'a lease journal entry is damaged'),
    onUnknown: ({ machine: { name, driver }, file }) =>
      log.error({ machine: name, driver, file }, 'a lease journal entry is not understood, and is left unchanged'),
  })

/** Ends what runs, or leaves it as it is. */
const leave = async (
  ended: 'TERM' | 'INT' | VarveError,
  { backups, leases }: Pick<Served, 'backups' | 'leases'>,
): Promise<void> => {
  // a stop leaves leases to the next start, and while the link is open: a job that loses it would release its lease;
  // an agent that the gateway turned away for good has no next start to leave them to
  if (ended === 'TERM') {
    await Promise.all([leases.stop(), backups.stop()])
    return
  }
  await leases.giveUp()
  if (ended !== 'INT' && GONE_FOR_GOOD.has(ended.code)) await backups.abandon()
  else await backups.giveUp()
}

/** The parts of an agent that its backups need. */
interface BackupParts extends Pick<BackupsOptions, 'journal' | 'leases' | 'link' | 'traffic' | 'log'> {
  readonly identity: Identity
  readonly formerAgents: readonly string[]
  readonly drivers: Drivers
}

const backupsOf = (
  { machines, state: stateFolder, freeze_limit: freezeLimit, bandwidth }: AgentConfig,
  { identity, drivers, ...parts }: BackupParts,
): Backups =>
  new Backups({
    agentId: identity.record.agentId,
    machines,
    driverOf: (machine) => drivers.of(machine),
    begin: (request) => drivers.begin(request),
    stateFolder,
    freezeTimeoutMs: freezeLimit * 1000,
    bandwidth: bandwidth ?? null,
    clock: systemClock,
    ...parts,
  })

const relayOf = (
  { machines, relay: allowed }: AgentConfig,
  { driverOf, backups, leases }: Pick<RelayOptions, 'driverOf'> & Pick<Served, 'backups' | 'leases'>,
): Relay =>
  new Relay({
    machines,
    driverOf,
    allowed,
    jobOf: (machine) => backups.jobOf(machine),
    leaseOf: (machine) => leases.of(machine),
  })

const orderedRestores = (config: AgentConfig, link: () => GatewayLink, log: Log): OrderedRestores =>
  new OrderedRestores({
    rules: () => config.restore,
    machines: config.machines,
    notes: RestoreNotes.in(config.state),
    repeat: (work, signal) => link().repeat(work, signal),
    log,
  })

/** Logs what the gateway refuses, and notes it for the commands. */
const takeRefusals = async (
  state: string,
  agent: string,
  refused: Result<'agent.inventory'>['refused'],
  log: Log,
): Promise<void> => {
  for (const { machine, code, message } of refused) {
    if (code === 'MACHINE_MOVING') log.info({ machine, reason: message }, 'another host of the site has the machine')
    else log.error({ machine, reason: message }, 'machine refused')
  }
  await noteRefusals(state, agent, refused).catch((error: unknown) =>
    log.warn({ err: error }, 'what the gateway refused cannot be recorded for the commands'),
  )
}

const inventoryOf = (
  { machines, relay, state }: AgentConfig,
  { record: { agentId } }: Identity,
  { backups, driverOf }: Pick<Served, 'backups'> & { readonly driverOf: (machine: Machine) => LeaseDriver },
  log: Log,
): Inventory =>
  new Inventory({
    host: hostname(),
    machines,
    driverOf,
    relay,
    jobs: () => backups.jobs(),
    onRefused: (refused) => takeRefusals(state, agentId, refused, log),
    clock: systemClock,
    log,
  })

/** What the commands of this host use instead of a connection of their own; where it cannot be served they make one. */
const lendSession = async (
  { state, gateway }: AgentConfig,
  session: () => Dialled | null,
  log: Log,
): Promise<AsyncDisposable> => {
  try {
    return await serveCommands(session, { state, gateway, clock: systemClock })
  } catch (error) {
    log.error({ err: error }, 'commands of this host cannot use the connection of the agent')
    return new AsyncDisposableStack()
  }
}

/** Where leases of others cannot be taken, machines of the configuration are backed up nevertheless. */
const takeLeases = async (options: LeaseServerOptions, log: Log): Promise<AsyncDisposable> => {
  try {
    return await serveLeases(options)
  } catch (error) {
    log.error({ err: error }, 'leases of others cannot be taken')
    return new AsyncDisposableStack()
  }
}

/** EXISTS for a machine of the configuration, which its own driver reads; LIMIT_REACHED where there are too many. */
const refuseOwn = ({ machines }: Pick<AgentConfig, 'machines'>, name: string): void => {
  const machine = machines.find((one) => one.name === name)
  if (machine === undefined) throw new VarveError('LIMIT_REACHED', `this agent has ${machines.length} machines already`)
  if (isExternal(machine)) return
  const sentence = `machine ${name} is of this agent's configuration, which reads it with its driver ${machine.driver}: give the lease under another name`
  throw new VarveError('EXISTS', sentence)
}

/** Warns of what will soon break a session, now and each day while it is open. */
const warnDaily = (session: Dialled, log: Log): void => {
  const warn = (): void => {
    for (const concern of concernsOf(session, systemClock.now())) log.warn({ concern }, 'the gateway needs attention')
  }
  warn()
  const timer = setInterval(warn, WARN_INTERVAL_MS)
  timer.unref()
  void session.peer.closed.then(() => clearInterval(timer))
}

const gatewayLink = (
  config: AgentConfig,
  identity: Identity,
  served: Served,
  {
    record,
    sessions,
    log,
  }: { readonly record: LinkRecord; readonly sessions: WeakMap<Peer, Dialled>; readonly log: Log },
): GatewayLink =>
  new GatewayLink({
    connect: async () => {
      const session = await connect(config, identity, { serving: true, handlers: handlersOf(config, served) })
      warnDaily(session, log)
      sessions.set(session.peer, session)
      return session.peer
    },
    assertion: () => identity.assertion(systemClock.now()),
    onOpen: async (peer) => {
      await served.backups.reconcile(await served.inventory.open(peer))
    },
    onState: (state) => {
      if (state.up) record.up()
      else record.down(state.error)
      if (state.up) log.info({ gateway: config.gateway }, 'connected to the gateway')
      else
        log.warn(
          { code: state.error.code, reason: asVarveError(state.error).message, retryMs: Math.round(state.retryMs) },
          'the gateway is away',
        )
    },
    clock: systemClock,
    random: Math.random,
  })
