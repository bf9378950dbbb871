// The lists of machines of this host that run from the gateway: the agent's, and that of the person who asks.
import { access } from 'node:fs/promises'
import { CONFIG_DEFAULT, readConfig } from '../../config.ts'
import { InstantList } from '../../instant/record.ts'
import { personState } from '../way.ts'

const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  )

/** What reading the configuration ends with, but on a host that has no agent. */
export const listsOf = async (config: string): Promise<InstantList[]> => {
  const own = InstantList.in(personState())
  if (config === CONFIG_DEFAULT && !(await isThere(config))) return [own]
  return [InstantList.in((await readConfig(config)).state), own]
}
