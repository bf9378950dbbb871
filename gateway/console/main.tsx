// The console: signs in by the link's code or what this tab has kept, then shows the view that the address names.
import './style/main.css'
import { render } from 'preact'
import { App } from './frame/app.tsx'
import { link } from './frame/console.ts'
import { go, route } from './frame/router.ts'

const { view, path } = route.value
if (view === 'login' && path[0] !== undefined) {
  // the code is good once, and nobody finds it in the history
  go({ view: '', path: [], query: {} }, { replace: true })
  void link.signIn({ code: path[0] }, true).catch(() => null)
} else link.resume()

render(<App />, document.querySelector('#console')!)
