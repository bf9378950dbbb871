// NBD URIs: where a server is, and which export is meant.
import { VarveError } from '../../protocol/errors.ts'
import type { NbdPlace } from '../nbd/connection.ts'

const PORT_DEFAULT = 10_809

export interface NbdUri {
  readonly place: NbdPlace
  readonly exportName: string
}

export const isNbdUri = (text: string): boolean => /^nbds?(?:\+[a-z]+)?:/u.test(text)

const wrong = (text: string, why: string): VarveError => new VarveError('TARGET_INVALID', `${text}: ${why}`)

/** TARGET_INVALID for a URI that is not understood, or asks for TLS. */
export const parseNbdUri = (text: string): NbdUri => {
  const scheme = /^[a-z+]+/u.exec(text)?.[0] ?? ''
  if (scheme.startsWith('nbds'))
    throw wrong(text, 'NBD with TLS is not built: lead it through a tunnel, and give the near end as nbd+unix or nbd')
  if (scheme !== 'nbd' && scheme !== 'nbd+unix')
    throw wrong(text, 'an NBD URI is nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH')
  if (scheme === 'nbd' && text.startsWith('nbd:///')) throw wrong(text, 'it names no host')
  // URL knows the parts of no scheme but its own
  const url = URL.parse(text.replace(scheme, 'http').replace('http:///', 'http://localhost/'))
  if (url === null) throw wrong(text, 'this is no URI')
  let exportName: string
  try {
    exportName = decodeURIComponent(url.pathname.slice(1))
  } catch {
    throw wrong(text, 'the name of the export is not encoded as URIs have it')
  }
  if (scheme === 'nbd')
    return {
      place: { host: url.hostname.replace(/^\[|\]$/gu, ''), port: url.port === '' ? PORT_DEFAULT : Number(url.port) },
      exportName,
    }
  const socketPath = url.searchParams.get('socket') ?? ''
  if (socketPath === '') throw wrong(text, 'it does not name its socket: ?socket=PATH')
  return { place: { socketPath }, exportName }
}
