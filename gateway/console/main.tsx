// The console: shows its name.
import './style/main.css'
import { render } from 'preact'

render(<h1>Varve</h1>, document.body)
