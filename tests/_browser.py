"""Pages in headless Chromium, driven through its DevTools protocol."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from itertools import count

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --hide-scrollbars "
    "--force-color-profile=srgb --remote-debugging-pipe"
)


class Browser:
    """A tab of headless Chromium.

    Parameters
    ----------
    folder : Path
        Folder for the profile.
    """

    def __init__(self, folder):
        (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        arguments = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *arguments],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._commands, self._answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self._numbers, self._session, self._buffer = count(1), {}, b""
        tab = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        self.send("Page.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._commands.close()
        self._answers.close()
        self._process.kill()
        self._process.wait()

    def send(self, method, **parameters):
        """Send a command and return its result."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters} | self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        answer = self._read(lambda message: message.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, is_wanted):
        """Return the next message that is wanted."""
        while True:
            while b"\0" not in self._buffer:
                received = os.read(self._answers.fileno(), 1 << 20)
                if not received:
                    raise RuntimeError("Chromium has stopped.")
                self._buffer += received
            message, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(message)
            if is_wanted(message):
                return message

    def open(self, path, width, *, height=900, scheme="light"):
        """Load a file into a window of a width in CSS pixels; "dark" is the other scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)
        answer = self.send("Page.navigate", url=path.as_uri())
        if "errorText" in answer:
            raise RuntimeError(f"{path}: {answer['errorText']}")
        self._read(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script):
        """Return the value of an expression in JavaScript."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def print(self):
        """Return the page as a PDF, in bytes."""
        return b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])

    def screenshot(self):
        """Return a picture of the whole page, a PNG in bytes."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return b64decode(picture["data"])
