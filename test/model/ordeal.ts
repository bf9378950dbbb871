// One mishap from its beginning to its end: what is done to the folder, the lives that meet it, the way out, and what must
// be there after it.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { unaudited } from '../../gateway/catalog/change.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/folder/layout.ts'
import { openAuthority, rotateKeys } from '../../gateway/auth/authority.ts'
import { isIncomplete } from '../../gateway/commands/report-rebuild.ts'
import { openLog } from '../../protocol/host/log.ts'
import { rebuild } from '../../gateway/maintenance/rebuild.ts'
import { Dice } from '../support/model-dice.ts'
import type { Damage } from './damage.ts'
import { flipBit, type DataFolder } from './data-folder.ts'
import type { Mishap, MishapName } from './mishap.ts'
import type { Fact, LifePlan, Op } from './plan.ts'
import { TENANTS, type Planner } from './planner.ts'
import type { ModelState } from './state.ts'
import type { Tally } from './tally.ts'

/** How a catalog that is not what it must be is refused. */
const CATALOG_REFUSALS = ['CATALOG_MISSING', 'CATALOG_DAMAGED'] as const

/** How a missing folder of keys is. */
const KEYS_REFUSALS = ['KEYS_MISSING'] as const

/** Where the catalog is kept that a mishap takes away. */
const KEPT = 'kept/catalog'

export interface OrdealParts {
  readonly planner: Planner
  readonly state: ModelState
  readonly damage: Damage
  readonly folder: DataFolder
  readonly tally: Tally
  /** Lives a plan; everything that it says is held against the model. */
  readonly live: (plan: LifePlan) => Promise<readonly Fact[]>
  readonly tell: (line: string) => void
}

export class Ordeal {
  readonly #parts: OrdealParts

  constructor(parts: OrdealParts) {
    this.#parts = parts
  }

  async run(mishap: Mishap): Promise<void> {
    const { name } = mishap
    this.#parts.tell(`mishap: ${JSON.stringify(mishap)}`)
    const happened =
      name === 'keys-gone'
        ? await this.#keysGone(mishap)
        : name === 'lock-gone'
          ? await this.#lockGone()
          : isUndone(name)
            ? await this.#undone(mishap)
            : await this.#catalog(mishap)
    if (happened) this.#parts.tally.happened(name)
  }

  /** Something cannot be read for a while, and then it is as it was. */
  async #undone(mishap: Mishap): Promise<boolean> {
    const { planner, state, damage } = this.#parts
    const undo = await this.#takeAway(mishap)
    if (undo === null) return false
    damage.exact = false
    if (mishap.faulty) await this.#live(planner.faulty(false, planner.failpoint()))
    const affected = state.sure().filter((point) => damage.touches(point))
    await this.#live(planner.trouble(affected))
    undo()
    // it shows by itself, when anybody looks
    const look = TENANTS.map((tenant): Op[] => [planner.glance(tenant)])
    const facts = await this.#live({ ...planner.steps(look, [], 'steps', true), look: false })
    if (facts.filter(({ fact }) => fact === 'done').length < TENANTS.length)
      throw new Error('what was away is back, and still a collection or a verification is refused')
    await this.#whole()
    return true
  }

  /** Does it; gives what undoes it, or null where there is nothing to do it to. */
  async #takeAway({ name, seed, share }: Mishap): Promise<(() => void) | null> {
    const { state, damage, folder, tell } = this.#parts
    const dice = new Dice(seed)
    if (name === 'node-bit') {
      const sure = state.sure()
      const precious = sure.filter(({ held, lockedUntilMs }) => held === true || lockedUntilMs !== null)
      const node = damage.chooseNode(precious.length > 0 ? precious : sure, dice)
      if (node === null) return null
      const bit = 1 << dice.below(8)
      tell(`  a bit of ${path.basename(node.file)} at ${node.at}`)
      flipBit(node.file, node.at, bit)
      // it may be gone by then, as nobody needed it any more
      return () => {
        if (existsSync(node.file)) flipBit(node.file, node.at, bit)
      }
    }
    const packs = await folder.movePacksAway(name === 'nodes-away' ? 'nodes' : 'data', share, dice)
    if (packs.length === 0) return null
    damage.hidePacks(packs)
    tell(`  away: ${packs.join(' ')}`)
    return () => folder.movePacksBack()
  }

  /** The catalog is not what it must be: the start is refused, or nothing of it can be noticed. */
  async #catalog(mishap: Mishap): Promise<boolean> {
    const { planner, folder, damage, tally } = this.#parts
    folder.keepCatalog(KEPT)
    const hasStates = await folder.hasStates()
    this.#spoilCatalog(mishap)
    damage.exact = false
    const plan = planner.trouble([])
    const facts = await this.#live({ ...plan, refusals: CATALOG_REFUSALS })
    const opened = facts.some(({ fact }) => fact === 'opened')
    const met = facts.some((fact) => 'code' in fact && CATALOG_REFUSALS.some((code) => code === fact.code))
    if (!opened) tally.refusedStarts++
    if (!opened && (mishap.wayOut === 'back' || !hasStates)) folder.putCatalog(KEPT)
    else if (!opened || met || mishap.counted) await this.#rebuild()
    await this.#whole()
    return true
  }

  #spoilCatalog(mishap: Mishap): void {
    const { folder, damage, tell } = this.#parts
    const dice = new Dice(mishap.seed)
    if (mishap.name === 'ids-flipped') damage.hideIds(folder.flipIds(mishap, dice))
    else if (mishap.name === 'pages-garbled') folder.garblePages(mishap, dice)
    else if (mishap.name === 'catalog-gone') folder.removeCatalog()
    else {
      const copy = dice.pick(folder.copies())
      tell(`  ${copy} is put in place`)
      folder.putCatalog(copy)
    }
  }

  /** The catalog is made anew, as the refusal says; it must find everything. */
  async #rebuild(): Promise<void> {
    const { folder, planner, tally, state, tell } = this.#parts
    const log = openLog({ level: 'silent' })
    const report = await rebuild({ folder: folder.path, log, refuseLoss: true, nowMs: () => planner.nowMs })
    tell(`  rebuilt: ${JSON.stringify(report).slice(0, 2000)}`)
    if (isIncomplete(report)) throw new Error('the rebuild does not find everything')
    state.open.clear()
    tally.rebuilds++
  }

  async #keysGone({ wayOut }: Mishap): Promise<boolean> {
    const { planner, folder, tally } = this.#parts
    folder.moveKeysAway()
    const facts = await this.#live({ ...planner.steps([], [], 'steps', true), refusals: KEYS_REFUSALS })
    if (!facts.some((fact) => fact.fact === 'ended' && fact.code === KEYS_REFUSALS[0]))
      throw new Error('a start goes on without the keys')
    tally.refusedStarts++
    if (wayOut === 'back') folder.moveKeysBack()
    else {
      using catalog = openLocal(path.join(folder.path, CATALOG_NAME))
      const { nowMs } = planner
      const options = { folder: folder.path, catalog, nowMs, acceptLostKeys: true }
      await rotateKeys(await openAuthority(options), nowMs, unaudited)
      folder.dropKeptKeys()
    }
    await this.#live(planner.steps([], [], 'steps', true))
    return true
  }

  async #lockGone(): Promise<boolean> {
    const { planner, folder } = this.#parts
    folder.removeLock()
    const plan = planner.trouble([])
    await this.#live({ ...plan, steps: [[{ op: 'intrude' }], ...plan.steps] })
    return true
  }

  /** Everything is there, and nothing is lost for anybody who looks. */
  async #whole(): Promise<void> {
    const { planner, damage } = this.#parts
    damage.forget()
    const steps = TENANTS.flatMap((tenant): Op[][] => [
      [{ op: 'verify', tenant }],
      [{ op: 'collect', tenant, thresholdPercent: 90 }],
    ])
    await this.#live(planner.steps(steps, [], 'steps', true))
  }

  /** Backups that were left open are not gone on with. */
  async #live(plan: LifePlan): Promise<readonly Fact[]> {
    const facts = await this.#parts.live(plan)
    this.#parts.state.open.clear()
    return facts
  }
}

const isUndone = (name: MishapName): boolean => name === 'nodes-away' || name === 'data-away' || name === 'node-bit'
