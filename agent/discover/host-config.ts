// The configuration of a command: that of the file, with the domains that [discover] takes up at this moment.
import { remark } from '../../protocol/host/output.ts'
import { readConfig, type AgentConfig } from '../config.ts'
import { withFollowed } from './followed.ts'

export interface HostConfig {
  readonly config: AgentConfig
  /** Why the machines of [discover] are not among them, as a sentence; null where they are. */
  readonly problem: string | null
}

/** As readConfig; where libvirt cannot be asked, with the machines of the file alone. */
export const findHostConfig = async (file: string): Promise<HostConfig> => {
  const read = await readConfig(file)
  if (read.discover === undefined) return { config: read, problem: null }
  // what speaks to libvirt is loaded only where it is asked
  const { listDomains } = await import('./list-domains.ts')
  const { domains, problem } = await listDomains(read.discover.libvirt)
  const sentence = problem === null ? null : `the machines of [discover] are not known: ${problem}`
  return { config: withFollowed(read, domains).config, problem: sentence }
}

/** The same, which says what the problem is. */
export const readHostConfig = async (file: string): Promise<AgentConfig> => {
  const { config, problem } = await findHostConfig(file)
  if (problem !== null) remark(problem)
  return config
}
