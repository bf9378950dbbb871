// The view Machine: how one machine stands, its restore points as layers over time, and what is done to them.
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { route } from '../../frame/router.ts'
import { AsOf, Empty, ErrorNote, Loading } from '../../parts/basics.tsx'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { factsOf, keepsOf, pointOf, pointsOf } from '../../stores/points.ts'
import { machine as texts } from '../../texts/machine.ts'
import { Facts } from './facts.tsx'
import { Figures } from './figures.tsx'
import { JobPanel } from './job.tsx'
import { PointPanel, type PanelProps } from './point.tsx'
import { Strata } from './strata.tsx'
import { Usages } from './usages.ts'

/** A point that is not among those that are loaded. */
const Elsewhere = ({ id, ...panel }: Omit<PanelProps, 'point'> & { id: string }) => {
  const resource = useWatched(useMade(() => pointOf(link, panel.machine, id), `${panel.machine} ${id}`))
  const found = resource.value.value
  const error = resource.error.value
  if (found !== null)
    return (
      <PointPanel
        {...panel}
        point={found.point}
        onChanged={() => {
          panel.onChanged()
          void resource.refresh()
        }}
      />
    )
  return (
    <section class="panel point">
      {error === null ? <Loading rows={6} /> : <ErrorNote error={error} onRetry={() => void resource.refresh()} />}
    </section>
  )
}

const One = ({ name }: { name: string }) => {
  const facts = useWatched(useMade(() => factsOf(link, name), name))
  const points = useWatched(useMade(() => pointsOf(link, name), name))
  const keeps = useMade(() => (link.may('points.prune') ? keepsOf(link, name) : null), name)
  const usages = useMade(() => new Usages(link, name), name)
  const found = facts.value.value
  const rows = points.rows.value
  const error = facts.error.value ?? points.error.value
  if (found === null || rows === null)
    return error === null ? (
      <Loading rows={10} />
    ) : (
      <ErrorNote error={error} onRetry={() => void Promise.all([facts.refresh(), points.refresh()])} />
    )
  const { query } = route.value
  const wanted = query['point'] ?? null
  const chosen = wanted === null ? rows[0] : rows.find(({ id }) => id === wanted)
  const changed = (): void => void Promise.all([points.refresh(), facts.refresh(), keeps?.refresh()])
  const panel = { machine: name, keeps, usages, onChanged: changed }
  return (
    <div class="machine">
      <AsOf asOfMs={points.asOfMs.value} error={error} />
      <Facts facts={found} />
      <JobPanel name={name} onEnded={changed} />
      {rows.length === 0 ? (
        <Empty title={texts.empty.title}>
          <p>{texts.empty.says}</p>
        </Empty>
      ) : (
        <>
          <div class="layers">
            <Strata
              points={points}
              chosen={chosen?.id ?? null}
              disk={query['disk'] ?? null}
              keeps={keeps?.value.value ?? null}
            />
            {chosen === undefined && wanted !== null ? (
              <Elsewhere id={wanted} {...panel} />
            ) : (
              <PointPanel point={chosen ?? null} {...panel} />
            )}
          </div>
          <Figures points={points} usages={usages} />
        </>
      )}
    </div>
  )
}

export const MachineView = () => {
  const name = route.value.path[0]
  if (name === undefined)
    return (
      <Empty title={texts.back}>
        <a href={to('protection')}>{texts.back}</a>
      </Empty>
    )
  return <One key={name} name={name} />
}
