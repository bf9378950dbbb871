// The configuration of a command: that of the file, with the domains that [discover] takes up at this moment.
import { remark } from '../../protocol/host/output.ts'
import { readConfig, type AgentConfig } from '../config.ts'
import { withFollowed } from './followed.ts'
import { listDomains } from './list-domains.ts'

/** As readConfig; where libvirt cannot be asked, the machines of the file alone, which is said. */
export const readHostConfig = async (file: string): Promise<AgentConfig> => {
  const read = await readConfig(file)
  if (read.discover === undefined) return read
  const { domains, problem } = await listDomains(read.discover.libvirt)
  if (problem !== null) remark(`the machines of [discover] are not known: ${problem}`)
  return withFollowed(read, domains).config
}
