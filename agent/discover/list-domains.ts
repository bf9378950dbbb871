// The domains of a libvirt, listed once for a command.
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { asVarveError } from '../../protocol/errors.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import type { LibvirtCaller, LibvirtDomain } from '../libvirt/types.ts'
import { parseLibvirtUri } from '../libvirt/uri.ts'
import type { FoundDomain } from './found-machines.ts'

/** How long a libvirt may take to let a command in, in milliseconds; a daemon that is started by it needs some seconds. */
const OPEN_LIMIT_MS = 15_000

export interface ListedDomains {
  readonly uri: string
  readonly domains: readonly FoundDomain[]
  /** Why they could not be listed; null when they were. */
  readonly problem: string | null
}

/** Whether a socket of this libvirt exists: a host without libvirt has none. */
export const hasLibvirt = async (uri: string): Promise<boolean> => {
  const found = await Promise.all(
    parseLibvirtUri(uri).sockets.map((file) =>
      access(file, constants.F_OK).then(
        () => true,
        (error: NodeJS.ErrnoException) => error.code === 'EACCES',
      ),
    ),
  )
  return found.includes(true)
}

const isPersistent = (caller: LibvirtCaller, domain: LibvirtDomain): Promise<boolean> =>
  // gone meanwhile
  caller.isPersistent(domain).catch(() => true)

/** All domains of a libvirt; never rejects, except for a uri that cannot be (CONFIG_INVALID). */
export const listDomains = async (uri: string): Promise<ListedDomains> => {
  parseLibvirtUri(uri)
  try {
    await using caller = await LibvirtConnection.open({ uri, timeoutMs: OPEN_LIMIT_MS })
    const all = await caller.listAllDomains()
    const domains: FoundDomain[] = []
    for (const domain of all) {
      const { name, uuid, id } = domain
      // only one that runs can be without a definition
      const transient = id !== null && !(await isPersistent(caller, domain))
      domains.push({ name, uuid, running: id !== null, transient })
    }
    return { uri, domains, problem: null }
  } catch (thrown) {
    return { uri, domains: [], problem: asVarveError(thrown).message }
  }
}
