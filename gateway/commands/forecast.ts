// The forecast command: when the gateway's disk is used up.
import type { Command } from 'commander'
import type { StoreForecast } from '../../protocol/forecast.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { toGateway, type Common } from './options.ts'
import { withSession } from './remote.ts'

const growthText = (bytesPerDay: number): string =>
  bytesPerDay < 0 ? `shrinks by ${sizeText(-bytesPerDay)} a day` : `grows by ${sizeText(bytesPerDay)} a day`

/** The forecast in a sentence. */
const forecastText = ({ daysLeft, bytesPerDay, reason }: StoreForecast): string => {
  const growth = bytesPerDay === null ? '' : `What is used of it ${growthText(bytesPerDay)}: `
  if (daysLeft === 0)
    return 'The reserve is reached: uploads are refused until there is room (prune, gc, a larger disk).'
  if (daysLeft !== null) return `${growth}the reserve is reached in ${daysLeft} ${daysLeft === 1 ? 'day' : 'days'}.`
  if (reason === 'history') return 'There is no forecast before a week of running: too few days are known.'
  return `${growth}the reserve is not reached within ten years.`
}

export const forecastLines = (forecast: StoreForecast): string[] => {
  const { freeBytes, totalBytes, reserveBytes } = forecast
  const disk = `The disk has ${sizeText(freeBytes)} of ${sizeText(totalBytes)} free; uploads leave ${sizeText(reserveBytes)} of that.`
  return [disk, forecastText(forecast)]
}

/** Adds `forecast`. */
export const addForecastCommand = (program: Command): void => {
  toGateway(
    program.command('forecast').description("when the gateway's disk is used up, by the growth of the last 30 days"),
  ).action(async (options: Common) => {
    const forecast = await withSession(options, ({ peer, signal }) => peer.call('store.forecast', {}, { signal }))
    printJson(forecast)
    if (!options.json) forecastLines(forecast).forEach(print)
  })
}
