// All that the unattended run has running: a gateway that works by itself, an agent with machines whose guests write, a mail
// server, a receiver of webhooks, and Prometheus.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import type { Host } from '../support/stand-host.ts'
import { LinkProxy } from '../support/stand-proxy.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { tempFolder, type TempFolder } from '../support/temp.ts'
import { Hook } from './hook.ts'
import { Mailbox, MAIL_PASSWORD, MAIL_USER } from './mailbox.ts'
import { Prometheus } from './prometheus.ts'
import { GUEST_DISKS, WritingGuest } from './writing-guest.ts'

/** Of the machines. */
const NAMES = ['db1', 'web1', 'mail1'] as const

export interface RigOptions {
  readonly machines: number
  /** Debian's Prometheus scrapes the gateway. */
  readonly prometheus: boolean
}

export class Rig implements AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly guests: readonly WritingGuest[]
  readonly mailbox: Mailbox
  readonly hook: Hook
  readonly prometheus: Prometheus | null
  /** The way of who scrapes: it leads to the gateway, whichever port that has now. */
  readonly #scrape: LinkProxy
  readonly #resources: AsyncDisposableStack

  private constructor(parts: {
    stand: Stand
    host: Host
    guests: readonly WritingGuest[]
    mailbox: Mailbox
    hook: Hook
    prometheus: Prometheus | null
    scrape: LinkProxy
    resources: AsyncDisposableStack
  }) {
    this.stand = parts.stand
    this.host = parts.host
    this.guests = parts.guests
    this.mailbox = parts.mailbox
    this.hook = parts.hook
    this.prometheus = parts.prometheus
    this.#scrape = parts.scrape
    this.#resources = parts.resources
  }

  /** Starts everything but the plan: nothing is backed up yet. */
  static async start({ machines, prometheus }: RigOptions): Promise<Rig> {
    await using resources = new AsyncDisposableStack()
    const folder = resources.use(await tempFolder())
    const token = randomBytes(24).toString('hex')
    const tokenFile = folder.join('metrics-token')
    await writeFile(tokenFile, token, { mode: 0o600 })
    const mailbox = resources.use(await Mailbox.open(folder.path))
    const hook = resources.use(await Hook.listen(randomBytes(24).toString('hex')))
    const stand = resources.use(await Stand.start({ serve: ['--metrics-token-file', tokenFile, '--notify-private'] }))
    const scrape = resources.use(await LinkProxy.listen())
    scrape.target = portOf(stand)
    const scraper = prometheus ? await scraperOf(folder, scrape, token) : null
    if (scraper !== null) resources.use(scraper)
    const host = await stand.addHost()
    const guests: WritingGuest[] = []
    for (const [index, name] of NAMES.slice(0, machines).entries())
      guests.push(new WritingGuest(await host.addMachine(name, GUEST_DISKS), index + 1))
    await host.start()
    return new Rig({ stand, host, guests, mailbox, hook, prometheus: scraper, scrape, resources: resources.move() })
  }

  /** Mail and webhook, for the tenant and for the platform. */
  async addTargets(): Promise<void> {
    const { authority, port } = this.mailbox
    for (const role of ['owner', 'platform'] as const) {
      const peer = await this.stand.peer(role)
      await peer.call('notify.setTarget', {
        target: 'mail',
        settings: {
          kind: 'smtp',
          host: '127.0.0.1',
          port,
          security: 'starttls',
          insecure: false,
          user: MAIL_USER,
          from: 'varve@example.org',
          to: ['ops@example.org'],
          authority,
        },
        secrets: { password: MAIL_PASSWORD },
      })
      await peer.call('notify.setTarget', {
        target: 'hook',
        settings: { kind: 'webhook', insecure: false, template: null, authority: null },
        secrets: { url: this.hook.url, key: this.hook.key },
      })
    }
  }

  /** Kills the gateway as a crash does; nobody can reach it until `raise`. */
  async killGateway(): Promise<void> {
    await this.stand.endGateway('SIGKILL')
    this.#scrape.target = null
    this.#scrape.cut()
  }

  async raiseGateway(): Promise<void> {
    await this.stand.startGateway()
    this.#scrape.target = portOf(this.stand)
  }

  async killAgent(): Promise<void> {
    await this.host.end('SIGKILL')
  }

  async raiseAgent(): Promise<void> {
    this.host.launch()
    await this.host.agent.says(/connected to the gateway/)
  }

  /** What the catalog says, beside the gateway as its commands look at it. */
  readonly look = async <R>(work: (catalog: Catalog, tenant: string) => Promise<R>): Promise<R> => {
    using catalog = openLocal(this.stand.catalogFile)
    return await work(catalog, (await catalog.tenants.named({ name: TENANT })).id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const guest of this.guests) await guest.pause().catch(() => undefined)
    await this.#resources.disposeAsync()
  }
}

const portOf = (stand: Stand): number => Number(new URL(stand.url).port)

const scraperOf = (folder: TempFolder, { port }: LinkProxy, token: string): Promise<Prometheus> =>
  Prometheus.start({ folder: folder.path, target: `127.0.0.1:${port}`, token })
