// Who the process that serves disks is at the gateway: this host's agent, or a person whose token is in a file.
import { AgentCaller, type Caller } from '../commands/caller.ts'
import { PersonCaller } from '../commands/person-caller.ts'
import { readConfig } from '../config.ts'
import { Identity } from '../identity.ts'
import type { InstantWay } from './record.ts'

/** Where machines that run from the gateway are listed; what reading the configuration ends with. */
export const stateFolderOf = async (way: InstantWay): Promise<string> =>
  'gateway' in way ? way.state : (await readConfig(way.config)).state

/** What reading the configuration and the identity ends with. */
export const callerOf = async (way: InstantWay): Promise<Caller> => {
  if ('gateway' in way)
    return new PersonCaller({ gateway: way.gateway, tokenFile: way.tokenFile, ca: way.ca }, { begun: true })
  const config = await readConfig(way.config)
  return new AgentCaller(config, await Identity.load(config.state), false)
}
