// Who holds a record: the smallest of image, point, disk, machine and tenant that covers every image with it, as small numbers
// that can be joined.

/** What reports of usage call all attachments of a machine together: no disk has such a name. */
export const ATTACHMENTS = '(attachments)'

/** One disk of one restore point; attachments are one disk of their machine here. */
export interface OwnedImage {
  readonly point: string
  readonly machine: string
  readonly disk: string
}

/** What a code stands for. */
export type Owner =
  | { readonly scope: 'tenant' }
  | { readonly scope: 'machine'; readonly machine: string }
  | { readonly scope: 'disk'; readonly machine: string; readonly disk: string }
  | { readonly scope: 'point'; readonly machine: string; readonly point: string }
  | { readonly scope: 'image'; readonly machine: string; readonly point: string; readonly disk: string }

/** The code of the whole tenant. */
const TENANT = 1

/** No two lists of names make the same key. */
const key = (...parts: readonly string[]): string => JSON.stringify(parts)

/**
 * A join-semilattice over image → point | disk → machine → tenant: joining is associative, commutative and idempotent, so the
 * owner of a record does not depend on the order of a walk, and it changes at most three times. The same images in the same order
 * give the same codes.
 */
export class Lattice {
  readonly #owners: (Owner | null)[] = [null, { scope: 'tenant' }]
  // by code: the machine, disk and point that contain the owner; 0 where it spans several
  readonly #machines = [0, 0]
  readonly #disks = [0, 0]
  readonly #points = [0, 0]
  readonly #images: number[]

  constructor(images: readonly OwnedImage[]) {
    const codes = new Map<string, number>()
    const named = (name: string, owner: Owner, add: (code: number) => void): number => {
      const known = codes.get(name)
      if (known !== undefined) return known
      const code = this.#owners.push(owner) - 1
      codes.set(name, code)
      add(code)
      return code
    }
    const place = (machine: number, disk: number, point: number): void => {
      this.#machines.push(machine)
      this.#disks.push(disk)
      this.#points.push(point)
    }
    this.#images = images.map(({ machine, disk, point }) => {
      const ofMachine = named(key('machine', machine), { scope: 'machine', machine }, (code) => place(code, 0, 0))
      const ofDisk = named(key('disk', machine, disk), { scope: 'disk', machine, disk }, (code) =>
        place(ofMachine, code, 0),
      )
      const ofPoint = named(key('point', point), { scope: 'point', machine, point }, (code) =>
        place(ofMachine, 0, code),
      )
      return named(key('image', point, disk), { scope: 'image', machine, point, disk }, () =>
        place(ofMachine, ofDisk, ofPoint),
      )
    })
  }

  /** Code of the image at this index of the list. */
  image(index: number): number {
    return this.#images[index]!
  }

  /** The smallest owner that covers both. */
  join(a: number, b: number): number {
    if (a === b) return a
    const machine = this.#machines[a]!
    if (machine === 0 || machine !== this.#machines[b]) return TENANT
    const point = this.#points[a]!
    if (point !== 0 && point === this.#points[b]) return point
    const disk = this.#disks[a]!
    return disk !== 0 && disk === this.#disks[b] ? disk : machine
  }

  /** What a code stands for; the tenant for one that is not of this lattice. */
  owner(code: number): Owner {
    return this.#owners[code] ?? { scope: 'tenant' }
  }
}
