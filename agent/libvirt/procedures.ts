// The procedures of libvirt that are called, and what their arguments and answers have in common.
import type { LibvirtDomain } from './types.ts'
import { LIST_MAX, writeDomain } from './wire.ts'
import { XdrWriter, type XdrReader } from './xdr.ts'

/** The procedures that are called, by libvirt's names. */
export const PROCEDURES = {
  connectOpen: 1,
  connectGetVersion: 4,
  connectGetCapabilities: 7,
  domainCreateXML: 10,
  domainDestroy: 12,
  domainGetXMLDesc: 14,
  domainGetAutostart: 15,
  domainGetInfo: 16,
  domainLookupByName: 23,
  domainLookupByUUID: 24,
  domainResume: 28,
  domainSuspend: 34,
  connectSupportsFeature: 60,
  domainBlockStats: 64,
  authList: 66,
  authPolkit: 70,
  domainIsPersistent: 151,
  connectGetLibVersion: 157,
  domainAbortJob: 164,
  domainHasManagedSaveImage: 183,
  domainGetBlockInfo: 194,
  domainGetState: 212,
  domainGetBlockJobInfo: 238,
  domainBlockJobSetSpeed: 239,
  domainBlockPull: 240,
  domainGetDiskErrors: 263,
  connectListAllDomains: 273,
  domainListAllSnapshots: 274,
  domainGetJobStats: 298,
  connectDomainEventCallbackRegisterAny: 316,
  domainFSFreeze: 335,
  domainFSThaw: 336,
  domainDefineXMLFlags: 350,
  domainCheckpointCreateXML: 411,
  domainCheckpointGetXMLDesc: 412,
  domainListAllCheckpoints: 413,
  domainCheckpointLookupByName: 415,
  domainCheckpointGetParent: 416,
  domainCheckpointDelete: 417,
  domainBackupBegin: 421,
  domainBackupGetXMLDesc: 422,
} as const

export type ProcedureName = keyof typeof PROCEDURES

/** The bits of those that are wanted. */
export const flags = (bits: ReadonlyArray<readonly [number, boolean | undefined]>): number =>
  bits.reduce((all, [bit, wanted]) => (wanted === true ? all | bit : all), 0)

/** Arguments that begin with a domain. */
export const onDomain = (domain: LibvirtDomain): XdrWriter => writeDomain(new XdrWriter(), domain)

/** A list and, behind it, how many it has. */
export const listed = <T>(reader: XdrReader, read: (reader: XdrReader) => T): T[] => {
  const items = reader.list(LIST_MAX, () => read(reader))
  reader.u32()
  return items
}
