// Connects to the first of a uri's sockets that has a listener.
import { VarveError } from '../../protocol/errors.ts'
import { libvirtUnavailable } from './errors.ts'
import { RpcConnection, type RpcNotice } from './rpc.ts'

/**
 * Connects to the first socket that has a listener; `onNotice` gets what the daemon sends by itself. LIBVIRT_UNAVAILABLE with
 * the failure that tells most.
 */
export const dialFirst = async (
  sockets: readonly string[],
  onNotice: (notice: RpcNotice) => void,
): Promise<RpcConnection> => {
  const failures: VarveError[] = []
  for (const socket of sockets) {
    try {
      return await RpcConnection.connect(socket, onNotice)
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
      failures.push(error)
    }
  }
  const telling = failures.find(({ details }) => details['errno'] !== 'ENOENT')
  throw telling ?? libvirtUnavailable(sockets.join(' and '), failures[0]?.cause)
}
