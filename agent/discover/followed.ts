// The machines that [discover] takes up: domains whose names it includes, without those that have a [[machine]]. Pure.
import { MACHINES_MAX } from '../../protocol/limits.ts'
import { machineFrom, type AgentConfig } from '../config.ts'
import type { MachineConfig } from '../drivers/driver.ts'
import type { LibvirtDomain } from '../libvirt/types.ts'
import { URI_DEFAULT } from '../libvirt/uri-schema.ts'
import { fitName } from './names.ts'
import { fitsOne } from './patterns.ts'
import type { DiscoverSettings } from './settings.ts'

type Domain = Pick<LibvirtDomain, 'name' | 'uuid'>

export interface NotTaken {
  readonly domain: string
  /** A sentence with the way out. */
  readonly reason: string
}

export interface WithFollowed {
  /** The configuration with the machines that were taken up. */
  readonly config: AgentConfig
  /** Domains that are included and cannot be taken up. */
  readonly notTaken: readonly NotTaken[]
}

/** Whether [discover] takes a domain of this name up. */
export const isIncluded = ({ include, exclude }: DiscoverSettings, name: string): boolean =>
  fitsOne(name, include) && !fitsOne(name, exclude)

/** Whether a machine of the configuration is this domain, by its name or uuid. */
export const isDomain = ({ driver, keys }: MachineConfig, uri: string, { name, uuid }: Domain): boolean => {
  if (driver !== 'libvirt' || (keys['uri'] ?? URI_DEFAULT) !== uri) return false
  const own = String(keys['domain'])
  return own === name || own.toLowerCase().replaceAll('-', '') === uuid.replaceAll('-', '')
}

const machineOf = (uri: string, { name }: Domain): MachineConfig | null =>
  machineFrom({ name: fitName(name), driver: 'libvirt', domain: name, uri })

const rank = ({ name }: Domain): number => (fitName(name) === name ? 0 : 1)

/** Domains whose own names are allowed choose first, so that a name means the same domain each time. */
const inOrder = (domains: readonly Domain[]): readonly Domain[] =>
  domains.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))

/** The configuration that the file and the domains make together. A [[machine]] of a domain goes before [discover]. */
export const withFollowed = (read: AgentConfig, domains: readonly Domain[]): WithFollowed => {
  const { discover } = read
  if (discover === undefined) return { config: read, notTaken: [] }
  const uri = discover.libvirt
  const machines = [...read.machines]
  const names = new Set(machines.map(({ name }) => name))
  const notTaken: NotTaken[] = []
  const wanted = domains.filter(
    (domain) => isIncluded(discover, domain.name) && !read.machines.some((machine) => isDomain(machine, uri, domain)),
  )
  for (const domain of inOrder(wanted)) {
    const refuse = (reason: string): void => void notTaken.push({ domain: domain.name, reason })
    const machine = machineOf(uri, domain)
    if (machine === null) refuse('it cannot be a machine of this agent under any name')
    else if (names.has(machine.name))
      refuse(`another machine has the name ${machine.name}: give the domain a [[machine]] with a name of its own`)
    else if (machines.length >= MACHINES_MAX) refuse(`an agent takes ${MACHINES_MAX} machines at most`)
    else {
      names.add(machine.name)
      machines.push(machine)
    }
  }
  return { config: { ...read, machines }, notTaken }
}
