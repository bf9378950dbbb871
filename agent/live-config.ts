// The configuration of a running agent: the file's, with the domains that [discover] takes up, and what changes of both.
import type { Clock } from '../protocol/peer.ts'
import type { Log } from '../protocol/host/log.ts'
import type { AgentConfig } from './config.ts'
import { withFollowed, type NotTaken } from './discover/followed.ts'
import { withExternal } from './drivers/external/machines.ts'
import { Follower, type FollowedLink } from './discover/follower.ts'
import type { LeaseDriver, MachineConfig } from './drivers/driver.ts'
import type { LibvirtDomain } from './libvirt/types.ts'
import { planReload } from './reload.ts'

/** How long a start waits for the domains of [discover], in milliseconds. */
const START_LIMIT_MS = 5000

/** How often it is looked whether a backup has ended that a change waits for, in milliseconds. */
const WAIT_MS = 2000

/** The configuration in effect, which this changes in place for all who have it. */
export type SharedConfig = { -readonly [Key in keyof AgentConfig]: AgentConfig[Key] } & {
  readonly machines: MachineConfig[]
  readonly relay: string[]
}

export interface LiveConfigOptions {
  readonly config: SharedConfig
  readonly driverOf: (machine: MachineConfig) => Pick<LeaseDriver, 'attach' | 'detach'>
  readonly isBusy: (machine: string) => boolean
  /** Names of machines whose leases others hold. */
  readonly external?: () => readonly string[]
  /** A machine came, went or is another one, which the gateway must learn. */
  readonly onMachine: (machine: string) => void
  /** The gateway must be dialled anew. */
  readonly onReconnect: (why: string) => void
  readonly clock: Clock
  readonly log: Log
  readonly open?: (uri: string) => FollowedLink
}

export class LiveConfig implements AsyncDisposable {
  readonly #options: LiveConfigOptions
  readonly #follower: Follower
  /** As the file has it. */
  #read: AgentConfig
  #domains: readonly LibvirtDomain[] = []
  /** What was logged last of what is not taken, so that it is logged once. */
  #said = { later: '', notTaken: '' }
  #stopTimer: () => void = () => {}

  constructor(options: LiveConfigOptions) {
    this.#options = options
    const { config, open, clock, log } = options
    this.#read = { ...config, machines: [...config.machines], relay: [...config.relay] }
    const onDomains = (domains: readonly LibvirtDomain[]): void => {
      this.#domains = domains
      this.#apply('the domains of libvirt are other ones')
    }
    this.#follower = new Follower({ onDomains, clock, log, ...(open === undefined ? {} : { open }) })
  }

  /** Begins with [discover]; resolves once its domains are taken up, or libvirt takes too long. */
  async start(): Promise<void> {
    this.#follower.follow(this.#read.discover?.libvirt ?? null)
    const { promise, resolve } = Promise.withResolvers<void>()
    const stopTimer = this.#options.clock.after(START_LIMIT_MS, resolve)
    await Promise.race([this.#follower.looked, promise])
    stopTimer()
  }

  /** Takes up machines whose leases others hold. */
  takeExternal(): void {
    this.#apply('a machine is backed up under the lease of somebody else')
  }

  /** Takes a configuration that was read again. */
  reload(read: AgentConfig): void {
    this.#read = read
    if (this.#follower.follow(read.discover?.libvirt ?? null)) this.#domains = []
    this.#said = { later: '', notTaken: '' }
    this.#apply('the configuration was reloaded', true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopTimer()
    await this.#follower[Symbol.asyncDispose]()
  }

  #apply(why: string, isReload = false): void {
    const { config, driverOf, isBusy, onMachine, onReconnect, log, clock } = this.#options
    const followed = withFollowed(this.#read, this.#domains)
    const wanted = { ...followed, config: withExternal(followed.config, this.#options.external?.() ?? []) }
    const reload = planReload(config, wanted.config, isBusy)
    for (const machine of reload.stopped) driverOf(machine).detach(machine)
    const { machines, relay, ...rest } = reload.config
    // a key that was removed must not keep its old value
    Object.assign(config, { ca: undefined, discover: undefined }, rest)
    config.machines.splice(0, config.machines.length, ...machines)
    config.relay.splice(0, config.relay.length, ...relay)
    log.level = config.log_level
    for (const machine of reload.started) driverOf(machine).attach(machine)
    this.#tell(why, isReload, reload, wanted.notTaken)
    for (const { name } of [...reload.stopped, ...reload.started]) onMachine(name)
    if (reload.reconnects) onReconnect(why)
    this.#stopTimer()
    if (reload.waits) this.#stopTimer = clock.after(WAIT_MS, () => this.#apply('a backup has ended'))
  }

  #tell(
    why: string,
    isReload: boolean,
    { taken, later }: { readonly taken: readonly string[]; readonly later: readonly string[] },
    notTaken: readonly NotTaken[],
  ): void {
    const { log } = this.#options
    const said = { later: JSON.stringify(later), notTaken: JSON.stringify(notTaken) }
    if (isReload || taken.length > 0 || (later.length > 0 && said.later !== this.#said.later))
      log.info({ taken, later }, why)
    if (said.notTaken !== this.#said.notTaken)
      for (const { domain, reason } of notTaken) log.warn({ domain, reason }, 'a domain cannot be taken up')
    this.#said = said
  }
}
