// The discover command: shows what runs on this host, and prints the configuration to paste.
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { readConfig, type AgentConfig } from '../config.ts'
import { withFollowed } from '../discover/followed.ts'
import { machinesOf, type Known } from '../discover/found-machines.ts'
import { findQemus } from '../discover/host-qemus.ts'
import { hasLibvirt, listDomains, type ListedDomains } from '../discover/list-domains.ts'
import { pageLines } from '../discover/page.ts'
import { URI_DEFAULT } from '../libvirt/uri-schema.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'

export interface DiscoverCommand {
  readonly config: string
  /** The one libvirt to ask. */
  readonly uri?: string
  readonly json: boolean
}

/** What the configuration has; null where there is none yet, or one that this user may not read, which is said. */
const configOf = async (file: string): Promise<AgentConfig | null> => {
  const found = await stat(file).catch(() => null)
  // the shell makes it empty before `discover > FILE` begins
  if (file !== '' && (found === null || (found.isFile() && found.size === 0))) return null
  const isHidden = await access(file, constants.R_OK).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'EACCES',
  )
  if (!isHidden) return await readConfig(file)
  remark(`${file} may not be read by this user: machines that it has already are not marked`)
  return null
}

const HOW = 'start its QEMU with -qmp unix:/run/varve/NAME.qmp,server=on,wait=off for Varve alone'

/** The libvirts to ask: the one that is named, else those of the configuration and those that this host has. */
const urisOf = async (named: string | undefined, config: AgentConfig | null): Promise<readonly string[]> => {
  if (named !== undefined) return [named]
  const own = (config?.machines ?? []).flatMap(({ keys }) => (typeof keys['uri'] === 'string' ? [keys['uri']] : []))
  const uris = new Set([...(config?.discover === undefined ? [] : [config.discover.libvirt]), ...own])
  const usual = process.getuid?.() === 0 ? [URI_DEFAULT] : [URI_DEFAULT, 'qemu:///session']
  for (const uri of usual) if (await hasLibvirt(uri)) uris.add(uri)
  return [...uris]
}

/** What the configuration says of the machines that may be found. */
const knownOf = (config: AgentConfig | null, libvirt: readonly ListedDomains[]): Known => {
  if (config === null) return { machines: [], followed: new Set() }
  const domains = libvirt.find(({ uri }) => uri === config.discover?.libvirt)?.domains ?? []
  const { machines } = withFollowed(config, domains).config
  const followed = machines.filter((machine) => !config.machines.includes(machine)).map(({ name }) => name)
  return { machines, followed: new Set(followed) }
}

export const discover = async (options: DiscoverCommand): Promise<void> => {
  const config = await configOf(options.config)
  const libvirt: ListedDomains[] = []
  for (const uri of await urisOf(options.uri, config)) libvirt.push(await listDomains(uri))
  const { qemus, processes, unseen } = await findQemus()
  const machines = machinesOf({ qemus, libvirt }, knownOf(config, libvirt))
  unseen.forEach(remark)
  for (const { uri, problem } of libvirt)
    if (problem !== null) remark(`the domains of ${uri} cannot be listed: ${problem}`)
  if (options.json) {
    const rows = machines.map(({ keys, ...machine }) => {
      return { ...machine, keys: Object.entries(keys).map(([key, value]) => ({ key, value })) }
    })
    const asked = libvirt.map(({ uri, domains, problem }) => ({ uri, domains: domains.length, problem }))
    return printJson({ machines: rows, processes, libvirt: asked, unseen })
  }
  if (machines.length === 0) {
    const asked = libvirt.filter(({ problem }) => problem === null)
    const where =
      asked.length > 0
        ? `no domain at ${asked.map(({ uri }) => uri).join(', ')}`
        : libvirt.length === 0
          ? 'there is no libvirt'
          : 'no libvirt answered'
    remark(
      `nothing was found: none of ${processes} processes is a QEMU, and ${where}. If a machine is off, start it; ${HOW}`,
    )
  }
  const unfollowed = libvirt.find(({ uri, domains }) => domains.length > 0 && uri !== config?.discover?.libvirt)
  const page = { file: options.config, hasConfig: config !== null, unfollowed: unfollowed?.uri ?? null }
  pageLines(machines, page).forEach(print)
}
