// How far work is that a person asked for, and the way to stop it.
import type { MaintenanceProgress } from '../../../../protocol/maintenance.ts'
import { Bar, Button, Mark } from '../../parts/basics.tsx'
import { countText } from '../../parts/format.ts'
import { datastore as texts } from '../../texts/datastore.ts'

export const WorkProgress = ({ progress, onStop }: { progress: MaintenanceProgress | null; onStop: () => void }) => {
  const text =
    progress === null
      ? texts.starting
      : texts.progress(
          texts.phases[progress.phase],
          countText(progress.done),
          progress.total === null ? null : countText(progress.total),
        )
  return (
    <p role="status" class="work">
      <Mark tone="busy">{text}</Mark>
      {progress === null || progress.total === null || progress.total === 0 ? null : (
        <Bar share={progress.done / progress.total} tone="busy" label={text} />
      )}
      <Button onClick={onStop}>{texts.parts.stop}</Button>
    </p>
  )
}
