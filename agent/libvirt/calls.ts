// Every call of libvirt that backups need; see LibvirtCaller for what they mean and how they fail.
import { LIBVIRT_CODES, blockJobOf, domainReasonOf, domainStateOf } from './codes.ts'
import { isLibvirtError } from './errors.ts'
import { PROCEDURES, flags, listed, onDomain, type ProcedureName } from './procedures.ts'
import type { RpcConnection } from './rpc.ts'
import type {
  DomainXmlOptions,
  LibvirtBlockInfo,
  LibvirtBlockJob,
  LibvirtCallOptions,
  LibvirtCheckpoint,
  LibvirtDiskError,
  LibvirtDomain,
  LibvirtDomainInfo,
  LibvirtDomainState,
  LibvirtJob,
  LibvirtSnapshot,
} from './types.ts'
import { readDomain, readJob, readNamed, uuidBytes, writeNamed } from './wire.ts'
import { XdrWriter, type XdrReader } from './xdr.ts'

/** libvirt counts memory in these many bytes. */
const KIB = 1024

/** Most disks with an error in one answer: libvirt's own limit. */
const DISK_ERRORS_MAX = 256

/** The number of the error that the storage is full. */
const NO_SPACE = 2

const nothing = (): void => undefined
const text = (reader: XdrReader): string => reader.string()

/** The calls on an open connection. */
export class LibvirtCalls {
  protected readonly rpc: RpcConnection

  protected constructor(rpc: RpcConnection) {
    this.rpc = rpc
  }

  async hypervisorVersion(): Promise<number> {
    return await this.ask('connectGetVersion', new XdrWriter(), (reader) => Number(reader.u64()))
  }

  async domainByName(name: string): Promise<LibvirtDomain> {
    return await this.ask('domainLookupByName', new XdrWriter().string(name), readDomain)
  }

  async domainByUuid(uuid: string): Promise<LibvirtDomain> {
    return await this.ask('domainLookupByUUID', new XdrWriter().fixed(uuidBytes(uuid)), readDomain)
  }

  async listAllDomains({ active }: { readonly active?: boolean } = {}): Promise<LibvirtDomain[]> {
    const which = flags([
      [1, active === true],
      [2, active === false],
    ])
    return await this.ask('connectListAllDomains', new XdrWriter().i32(1).u32(which), (reader) =>
      listed(reader, readDomain),
    )
  }

  async defineDomain(xml: string): Promise<LibvirtDomain> {
    return await this.ask('domainDefineXMLFlags', new XdrWriter().string(xml).u32(0), readDomain)
  }

  /** Starts a domain that is gone, with all that libvirt knows of it, once it ends; unless somebody defines it meanwhile. */
  async createDomain(xml: string): Promise<LibvirtDomain> {
    return await this.ask('domainCreateXML', new XdrWriter().string(xml).u32(0), readDomain)
  }

  /** Ends a running domain as if its power went. */
  async destroyDomain(domain: LibvirtDomain): Promise<void> {
    return await this.ask('domainDestroy', onDomain(domain), nothing)
  }

  /** What this libvirt can do and how it runs machines, as XML. */
  async capabilities(): Promise<string> {
    return await this.ask('connectGetCapabilities', new XdrWriter(), text)
  }

  async domainXml(domain: LibvirtDomain, options: DomainXmlOptions = {}): Promise<string> {
    const { secure, inactive, migratable } = options
    const which = flags([
      [1, secure],
      [2, inactive],
      [8, migratable],
    ])
    return await this.ask('domainGetXMLDesc', onDomain(domain).u32(which), text, options)
  }

  async domainState(domain: LibvirtDomain): Promise<LibvirtDomainState> {
    return await this.ask('domainGetState', onDomain(domain).u32(0), (reader) => {
      const state = domainStateOf(reader.i32())
      return { state, reason: domainReasonOf(state, reader.i32()) }
    })
  }

  async domainInfo(domain: LibvirtDomain): Promise<LibvirtDomainInfo> {
    return await this.ask('domainGetInfo', onDomain(domain), (reader) => {
      const state = domainStateOf(reader.u32())
      const memoryMaxBytes = Number(reader.u64()) * KIB
      const memoryBytes = Number(reader.u64()) * KIB
      const cpus = reader.u32()
      reader.u64() // time on the processors
      return { state, memoryMaxBytes, memoryBytes, cpus }
    })
  }

  async isPersistent(domain: LibvirtDomain): Promise<boolean> {
    return await this.ask('domainIsPersistent', onDomain(domain), (reader) => reader.bool())
  }

  async autostart(domain: LibvirtDomain): Promise<boolean> {
    return await this.ask('domainGetAutostart', onDomain(domain), (reader) => reader.bool())
  }

  async hasManagedSave(domain: LibvirtDomain): Promise<boolean> {
    return await this.ask('domainHasManagedSaveImage', onDomain(domain).u32(0), (reader) => reader.bool())
  }

  async resume(domain: LibvirtDomain): Promise<void> {
    return await this.ask('domainResume', onDomain(domain), nothing)
  }

  /** Stops a domain's processors; QEMU writes out what it has of its images in its memory. */
  async suspend(domain: LibvirtDomain): Promise<void> {
    return await this.ask('domainSuspend', onDomain(domain), nothing)
  }

  /** Begins to merge all that lies below a disk's image into it, at so many bytes per second at most; 0 for no limit. */
  async blockPull(domain: LibvirtDomain, disk: string, speed: number): Promise<void> {
    const inBytes = 64
    return await this.ask('domainBlockPull', onDomain(domain).string(disk).u64(BigInt(speed)).u32(inBytes), nothing)
  }

  /** Bytes per second of a disk's block job at most; 0 for no limit. */
  async blockJobSpeed(domain: LibvirtDomain, disk: string, speed: number): Promise<void> {
    const inBytes = 1
    const args = onDomain(domain).string(disk).u64(BigInt(speed)).u32(inBytes)
    return await this.ask('domainBlockJobSetSpeed', args, nothing)
  }

  /** Bytes that the guest has written to a disk since QEMU began. */
  async writtenBytes(domain: LibvirtDomain, disk: string): Promise<number> {
    return await this.ask('domainBlockStats', onDomain(domain).string(disk), (reader) => {
      // reads, bytes read, writes, bytes written, errors
      const [, , , written] = Array.from({ length: 5 }, () => reader.u64())
      return Number(written)
    })
  }

  async blockInfo(domain: LibvirtDomain, disk: string): Promise<LibvirtBlockInfo> {
    return await this.ask('domainGetBlockInfo', onDomain(domain).string(disk).u32(0), (reader) => {
      const allocation = Number(reader.u64())
      return { capacity: Number(reader.u64()), allocation, physical: Number(reader.u64()) }
    })
  }

  async diskErrors(domain: LibvirtDomain): Promise<LibvirtDiskError[]> {
    return await this.ask('domainGetDiskErrors', onDomain(domain).u32(DISK_ERRORS_MAX).u32(0), (reader) => {
      const errors = reader.list(DISK_ERRORS_MAX, () => [reader.string(), reader.i32()] as const)
      reader.i32() // how many
      return errors.map(([disk, error]) => ({ disk, error: error === NO_SPACE ? 'no-space' : 'unspecified' }))
    })
  }

  async backupBegin(
    domain: LibvirtDomain,
    backupXml: string,
    checkpointXml: string | null,
    options: LibvirtCallOptions & { readonly reuseExternal?: boolean } = {},
  ): Promise<void> {
    const which = flags([[1, options.reuseExternal]])
    const args = onDomain(domain).string(backupXml).optionalString(checkpointXml).u32(which)
    return await this.ask('domainBackupBegin', args, nothing, options)
  }

  async backupXml(domain: LibvirtDomain): Promise<string> {
    return await this.ask('domainBackupGetXMLDesc', onDomain(domain).u32(0), text)
  }

  async abortJob(domain: LibvirtDomain): Promise<void> {
    return await this.ask('domainAbortJob', onDomain(domain), nothing)
  }

  async jobStats(
    domain: LibvirtDomain,
    { completed, keepCompleted }: { readonly completed?: boolean; readonly keepCompleted?: boolean } = {},
  ): Promise<LibvirtJob> {
    const which = flags([
      [1, completed],
      [2, keepCompleted],
    ])
    return await this.ask('domainGetJobStats', onDomain(domain).u32(which), (reader) => readJob(reader))
  }

  async blockJobInfo(domain: LibvirtDomain, disk: string): Promise<LibvirtBlockJob | null> {
    return await this.ask('domainGetBlockJobInfo', onDomain(domain).string(disk).u32(0), (reader) => {
      const found = reader.bool()
      const type = blockJobOf(reader.i32())
      reader.u64() // bandwidth
      const job = { type, current: reader.u64(), end: reader.u64() }
      return found ? job : null
    })
  }

  async listCheckpoints(domain: LibvirtDomain): Promise<LibvirtCheckpoint[]> {
    const parentsFirst = 2
    const args = onDomain(domain).i32(1).u32(parentsFirst)
    return await this.ask('domainListAllCheckpoints', args, (reader) => listed(reader, readNamed))
  }

  async checkpointByName(domain: LibvirtDomain, name: string): Promise<LibvirtCheckpoint> {
    return await this.ask('domainCheckpointLookupByName', onDomain(domain).string(name).u32(0), readNamed)
  }

  async checkpointXml(
    checkpoint: LibvirtCheckpoint,
    { size, domain, secure }: { readonly size?: boolean; readonly domain?: boolean; readonly secure?: boolean } = {},
  ): Promise<string> {
    const which = flags([
      [1, secure],
      [2, domain !== true],
      [4, size],
    ])
    return await this.ask('domainCheckpointGetXMLDesc', writeNamed(new XdrWriter(), checkpoint).u32(which), text)
  }

  async checkpointParent(checkpoint: LibvirtCheckpoint): Promise<LibvirtCheckpoint | null> {
    const args = writeNamed(new XdrWriter(), checkpoint).u32(0)
    try {
      return await this.ask('domainCheckpointGetParent', args, readNamed)
    } catch (error) {
      if (!isLibvirtError(error, LIBVIRT_CODES.noCheckpoint)) throw error
      // libvirt says the same of a checkpoint that has no parent and of one that is not there
      await this.checkpointByName(checkpoint.domain, checkpoint.name)
      return null
    }
  }

  async checkpointCreate(
    domain: LibvirtDomain,
    xml: string,
    { redefine, redefineValidate }: { readonly redefine?: boolean; readonly redefineValidate?: boolean } = {},
  ): Promise<LibvirtCheckpoint> {
    const which = flags([
      [1, redefine === true || redefineValidate === true],
      [4, redefineValidate],
    ])
    return await this.ask('domainCheckpointCreateXML', onDomain(domain).string(xml).u32(which), readNamed)
  }

  async checkpointDelete(
    checkpoint: LibvirtCheckpoint,
    { children, metadataOnly }: { readonly children?: boolean; readonly metadataOnly?: boolean } = {},
  ): Promise<void> {
    const which = flags([
      [1, children],
      [2, metadataOnly],
    ])
    return await this.ask('domainCheckpointDelete', writeNamed(new XdrWriter(), checkpoint).u32(which), nothing)
  }

  async fsFreeze(
    domain: LibvirtDomain,
    { mountpoints = [], ...options }: LibvirtCallOptions & { readonly mountpoints?: readonly string[] } = {},
  ): Promise<number> {
    const args = onDomain(domain)
    args.list(mountpoints, (path) => args.string(path)).u32(0)
    return await this.ask('domainFSFreeze', args, (reader) => reader.i32(), options)
  }

  async fsThaw(domain: LibvirtDomain, options: LibvirtCallOptions = {}): Promise<number> {
    return await this.ask('domainFSThaw', onDomain(domain).list([], nothing).u32(0), (reader) => reader.i32(), options)
  }

  async listSnapshots(domain: LibvirtDomain): Promise<LibvirtSnapshot[]> {
    const args = onDomain(domain).i32(1).u32(0)
    return await this.ask('domainListAllSnapshots', args, (reader) => listed(reader, readNamed))
  }

  protected async ask<T>(
    name: ProcedureName,
    args: XdrWriter,
    read: (reader: XdrReader) => T,
    { timeoutMs }: LibvirtCallOptions = {},
  ): Promise<T> {
    const limit = timeoutMs === undefined ? {} : { timeoutMs }
    return await this.rpc.call({ name, procedure: PROCEDURES[name], args, read, ...limit })
  }
}
