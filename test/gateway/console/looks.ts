// Whether a page looks, from far away, as it did when somebody last looked at it: its screenshot in few large dots beside the
// picture of it in looks/. What is black, blank, elsewhere or without its style shows; words, times and fonts do not.
// `VARVE_GOLDEN=write` writes the pictures anew: look at them.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Page } from 'playwright-core'

const PICTURES = path.join(import.meta.dirname, 'looks')

/** Dots of a picture, by its width and height. */
const COLUMNS = 48
const ROWS = 30

/** How far apart two colours of one dot may be, in steps of 255, before it counts as another. */
const FAR = 40

/** Dots that may be others, as a share of all. */
const OTHERS_MAX = 0.15

/** In the browser: the screenshot in few dots as a PNG, and the share of its dots that differ from an earlier one. */
const compare = async ([taken, earlier, columns, rows, far]: readonly [
  string,
  string | null,
  number,
  number,
  number,
]) => {
  const bitmapOf = (base64: string): Promise<ImageBitmap> =>
    createImageBitmap(
      new Blob([Uint8Array.from(atob(base64), (byte) => byte.codePointAt(0)!)], { type: 'image/png' }),
      {
        resizeWidth: columns,
        resizeHeight: rows,
        resizeQuality: 'high',
      },
    )
  const dotsOf = (bitmap: ImageBitmap): { canvas: OffscreenCanvas; dots: Uint8ClampedArray } => {
    const canvas = new OffscreenCanvas(columns, rows)
    const context = canvas.getContext('2d')!
    context.drawImage(bitmap, 0, 0)
    return { canvas, dots: context.getImageData(0, 0, columns, rows).data }
  }
  const { canvas, dots } = dotsOf(await bitmapOf(taken))
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())
  const png = btoa(String.fromCodePoint(...bytes))
  if (earlier === null) return { png, others: 1 }
  const before = dotsOf(await bitmapOf(earlier)).dots
  let others = 0
  for (let at = 0; at < dots.length; at += 4)
    if ([0, 1, 2].some((part) => Math.abs(dots[at + part]! - before[at + part]!) > far)) others++
  return { png, others: others / (columns * rows) }
}

/** What is wrong with how the page looks, beside the picture of this name; null where nothing is. */
export const unlike = async (page: Page, name: string): Promise<string | null> => {
  const file = path.join(PICTURES, `${name}.png`)
  const taken = (await page.screenshot()).toString('base64')
  const earlier = await readFile(file, 'base64').catch(() => null)
  const { png, others } = await page.evaluate(compare, [taken, earlier, COLUMNS, ROWS, FAR] as const)
  if (process.env['VARVE_GOLDEN'] === 'write') {
    await mkdir(PICTURES, { recursive: true })
    await writeFile(file, png, 'base64')
    return null
  }
  if (earlier === null) return `there is no picture ${name}: VARVE_GOLDEN=write makes it`
  return others <= OTHERS_MAX ? null : `${Math.round(others * 100)} of 100 dots are not those of its picture ${name}`
}
