// A real guest that does nothing but write to its disks, one block after the other, and says how long each took.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { QmpClient } from '../../agent/qmp/client.ts'
import { buildGuest } from '../rig/build-guest.ts'
import { writeCpio } from '../rig/cpio.ts'
import { run } from '../rig/run.ts'
import { bootGuest, type Guest, type GuestDisk } from '../rig/guest.ts'

/** Bytes of one write. */
export const WRITE_BYTES = 65_536

/** Pause between two writes, in microseconds. */
const PAUSE_US = 5_000

const WRITER = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}
int main(void) {
  int disks[2] = { open("/dev/vda", O_WRONLY | O_DIRECT), open("/dev/vdb", O_WRONLY | O_DIRECT) };
  long long blocks = lseek(disks[0], 0, SEEK_END) / ${WRITE_BYTES};
  char *block = NULL;
  if (posix_memalign((void **)&block, 4096, ${WRITE_BYTES}) != 0) return 1;
  for (int at = 0; at < ${WRITE_BYTES}; at++) block[at] = (char)random();
  puts("READY");
  for (int turn = 0;; turn = !turn) {
    long long began = now();
    if (pwrite(disks[turn], block, ${WRITE_BYTES}, random() % blocks * ${WRITE_BYTES}) != ${WRITE_BYTES}) puts("FAILED");
    printf("W %lld\\n", now() - began);
    fflush(stdout);
    usleep(${PAUSE_US});
  }
}
`

const INIT = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do
  insmod "/modules/$module.ko" 2>/dev/null
done </modules/order
exec /writer
`

/** Longest latency that QEMU's histogram tells from longer ones is about 20 s; each step is a fifth more, in nanoseconds. */
const BOUNDARIES = Array.from({ length: 68 }, (_, step) => Math.round(100_000 * 1.2 ** step))

const blocksSchema = v.array(
  v.object({
    qdev: v.optional(v.string(), ''),
    stats: v.object({
      wr_latency_histogram: v.optional(v.object({ boundaries: v.array(v.number()), bins: v.array(v.number()) })),
    }),
  }),
)

/** Writes of a time: how many, and how long they took, in milliseconds. */
export interface Latencies {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly longest: number
}

/** The value below which this share of the sorted values lies. */
const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN

/** Kernel and initial file system of the test guest with another first program, which gcc compiles; made in the folder. */
export const makeWritingGuest = async (
  folder: string,
): Promise<{ readonly kernel: string; readonly initrd: string }> => {
  const { kernel, initrd } = await buildGuest()
  const [own, source, writer] = ['writing.cpio', 'writer.c', 'writer'].map((name) => path.join(folder, name))
  await writeFile(source!, WRITER)
  await run('gcc', ['-O2', '-static', '-o', writer!, source!])
  // the kernel unpacks one archive behind the other
  const programs = writeCpio([
    { kind: 'file', path: 'init', data: Buffer.from(INIT), executable: true },
    { kind: 'file', path: 'writer', data: await readFile(writer!), executable: true },
  ])
  await writeFile(own!, Buffer.concat([await readFile(initrd), programs]))
  return { kernel, initrd: own! }
}

export interface WritingGuestOptions {
  readonly image: { readonly kernel: string; readonly initrd: string }
  readonly program: string
  /** A folder with a short path. */
  readonly folder: string
  readonly name: string
  readonly disks: readonly GuestDisk[]
  readonly qmpPath: string
}

export class WritingGuest implements AsyncDisposable {
  readonly #guest: Guest
  readonly #control: QmpClient
  #from = 0

  private constructor(guest: Guest, control: QmpClient) {
    this.#guest = guest
    this.#control = control
  }

  static async boot({ qmpPath, ...options }: WritingGuestOptions): Promise<WritingGuest> {
    const control = path.join(options.folder, `${options.name}.control`)
    const guest = await bootGuest({ ...options, qmp: [qmpPath, control] })
    try {
      await guest.said(/^READY/)
      return new WritingGuest(guest, await QmpClient.connect({ path: control }))
    } catch (error) {
      await guest.stop()
      throw error
    }
  }

  get version(): string {
    const { major, minor, micro } = this.#control.version
    return `${major}.${minor}.${micro}`
  }

  /** Counts from now on. */
  async reset(): Promise<void> {
    for (const disk of ['vda', 'vdb']) {
      const id = `/machine/peripheral/${disk}/virtio-backend`
      await this.#control.execute('block-latency-histogram-set', { id, 'boundaries-write': BOUNDARIES })
    }
    this.#from = this.#guest.lines.length
  }

  /** What the guest says of its writes since the last reset. */
  latencies(): Latencies {
    const ms = this.#guest.lines
      .slice(this.#from)
      .flatMap((line) => /^W (\d+)$/u.exec(line)?.[1] ?? [])
      .map((us) => Number(us) / 1000)
      .toSorted((a, b) => a - b)
    return { count: ms.length, p50: quantile(ms, 0.5), p99: quantile(ms, 0.99), longest: ms.at(-1) ?? Number.NaN }
  }

  /** The same by QEMU's histograms: each value is the upper end of its step. */
  async histogram(): Promise<Latencies> {
    const blocks = v.parse(blocksSchema, await this.#control.execute('query-blockstats'))
    const bins = Array.from({ length: BOUNDARIES.length + 1 }, () => 0)
    for (const { stats } of blocks)
      for (const [step, count] of (stats.wr_latency_histogram?.bins ?? []).entries()) bins[step]! += count
    const ends = bins.map((_, step) => (BOUNDARIES[step] ?? Infinity) / 1e6)
    const count = bins.reduce((sum, each) => sum + each, 0)
    const at = (share: number): number => {
      let left = Math.floor(count * share)
      const step = bins.findIndex((each) => (left -= each) < 0)
      return ends[step] ?? Number.NaN
    }
    return { count, p50: at(0.5), p99: at(0.99), longest: ends[bins.findLastIndex((each) => each > 0)] ?? Number.NaN }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#control.close()
    await this.#guest.stop()
  }
}
