"""Opens pages in headless Chromium."""

import html
import json
import re
import shutil
import subprocess

BROWSER = shutil.which('chromium')


def browse(address, profile, *flags):
    """Runs the browser once; returns the page as it is after its scripts ran."""
    options = ('--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
               '--blink-settings=lazyLoadEnabled=true',  # which --headless switches off
               '--virtual-time-budget=60000', f'--user-data-dir={profile}')  # fmt: skip
    done = subprocess.run([BROWSER, *options, *flags, address], check=True, capture_output=True, timeout=120)
    return done.stdout.decode()


def find_out(page, script, tmp_path, address=None, *flags):
    """Opens a copy of the page that runs `script`, the body of an asynchronous function, and returns its result."""
    copy = page.with_name('copy.html')
    ending = (
        '<pre id="findings"></pre><script>addEventListener("load", async () => { let found; try { found = await '
        f'(async () => {{ {script} }})(); }} catch (error) {{ found = String(error); }} '
        'document.querySelector("#findings").textContent = JSON.stringify(found); });</script></body>'
    )
    copy.write_text(page.read_text(encoding='utf-8').replace('</body>', ending), encoding='utf-8')
    shown = browse(address + 'copy.html' if address else copy.as_uri(), tmp_path / 'profile', '--dump-dom', *flags)
    return json.loads(html.unescape(re.search(r'<pre id="findings">(.*?)</pre>', shown, re.DOTALL).group(1)))
