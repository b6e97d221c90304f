"""A PACS made of `http.server` that can be told to misbehave, and small DICOM objects to put into it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

OP = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
PAGE = 3  # no page is longer, whatever is asked for


def image(number: int, *, study: int | None = None, **said: Any) -> bytes:
    """A small photograph of patient `p{study}`."""
    ds = _object(OP, number, study)
    ds.Modality, ds.ImageLaterality, ds.PatientSex, ds.PatientAge = "OP", "R" if number % 2 else "L", "F", "061Y"
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    ds.Rows = ds.Columns = 32
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = pixels.tobytes()
    for name, value in said.items():
        setattr(ds, name, value)
    return as_bytes(ds)


def report(number: int, *, study: int, text: str) -> bytes:
    """A structured report."""
    ds = _object(SR, number, study)
    ds.Modality, ds.ValueType = "SR", "CONTAINER"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    ds.ContentSequence = [item]
    return as_bytes(ds)


def as_bytes(ds: Dataset) -> bytes:
    """The data set as a file."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def uid_of(number: int) -> str:
    """SOP Instance UID of object `number`."""
    return f"1.2.826.0.1.3680043.8.498.7.{number}"


def study_uid(study: int) -> str:
    """Study Instance UID."""
    return f"1.2.826.0.1.3680043.8.498.5.{study}"


def _object(sop_class: str, number: int, study: int | None) -> Dataset:
    study = number if study is None else study
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid_of(number)
    ds.StudyInstanceUID = study_uid(study)
    ds.SeriesInstanceUID = f"{study_uid(study)}.{1 if sop_class == OP else 2}"
    ds.PatientID, ds.PatientName, ds.StudyDate = f"p{study}", f"Testperson^Number{study}", f"2021040{study % 9 + 1}"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


@dataclass
class Pacs:
    """The server's state; a test changes it between requests.

    Attributes:
        objects: SOP Instance UID → file, in the order of arrival. faults: UID → what goes wrong, one per request.
        claims: study → the number of objects that it is said to have. orthanc: has the feed of changes.
        deaf: knows neither paging nor filters. asked: paths and queries so far. down: drops every connection.
        down_after: number of objects sent after which it is down.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    orthanc: bool = False
    deaf: bool = False
    down: bool = False
    down_after: int = -1
    password: str = ""
    asked: list[str] = field(default_factory=list)
    accepts: set[str] = field(default_factory=set)
    url: str = ""

    def add(self, data: bytes) -> str:
        """Put an object in."""
        uid = str(self.header(data).SOPInstanceUID)
        self.objects[uid] = data
        return uid

    def header(self, data: bytes) -> Any:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)

    def fetched(self) -> list[str]:
        """UIDs of the objects asked for, in order."""
        return [p.rpartition("/")[2] for p in self.asked if "/series/" in p and "/instances/" in p]


def orthanc_id(text: str) -> str:
    """In the form of Orthanc's ids."""
    digest = hashlib.sha1(text.encode()).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    pacs: Pacs

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_GET(self) -> None:
        pacs = self.pacs
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        pacs.asked.append(self.path)
        pacs.accepts.add(self.headers.get("Accept", ""))
        if pacs.down:
            self.close_connection = True
            return
        if pacs.password and pacs.password not in self.headers.get("Authorization", ""):
            self.answer(401, b"")
        elif path.startswith("/dicom-web/"):
            self.web(path.removeprefix("/dicom-web/").split("/"), asked)
        elif pacs.orthanc:
            self.rest(path.strip("/").split("/"), asked)
        else:
            self.answer(404, b"")

    def web(self, parts: list[str], asked: dict[str, str]) -> None:
        headers = [self.pacs.header(data) for data in self.pacs.objects.values()]
        if parts == ["studies"]:
            listed = {}
            for ds in headers:
                one = listed.setdefault(ds.StudyInstanceUID, {"0020000D": ds.StudyInstanceUID, "n": 0, "m": set()})
                one |= {"00100020": ds.PatientID, "00080020": ds.StudyDate, "n": one["n"] + 1}
                one["m"].add(ds.Modality)
            chosen = [s for s in listed.values() if self.pacs.deaf or self.fits(s, asked)]
            self.page(
                [
                    _json({k: v for k, v in s.items() if len(k) == 8})
                    | {"00080061": {"vr": "CS", "Value": sorted(s["m"])}}
                    | {"00201208": {"vr": "IS", "Value": [self.pacs.claims.get(s["0020000D"], s["n"])]}}
                    for s in chosen
                ],
                asked,
            )
        elif len(parts) == 3:
            mine = [ds for ds in headers if ds.StudyInstanceUID == parts[1]]
            self.page(
                [
                    _json({"0020000E": d.SeriesInstanceUID, "00080018": d.SOPInstanceUID, "00080016": d.SOPClassUID,
                           "00080060": d.Modality})
                    for d in mine
                ],
                asked,
            )  # fmt: skip
        else:
            self.send_object(parts[-1])

    def fits(self, study: dict[str, Any], asked: dict[str, str]) -> bool:
        first, _, last = asked.get("StudyDate", "-").partition("-")
        return (
            asked.get("StudyInstanceUID", study["0020000D"]) == study["0020000D"]
            and asked.get("PatientID", study["00100020"]) == study["00100020"]
            and (first or "0") <= study["00080020"] <= (last or "9")
            and ("ModalitiesInStudy" not in asked or asked["ModalitiesInStudy"] in study["m"])
        )

    def page(self, items: list[Any], asked: dict[str, str]) -> None:
        if not self.pacs.deaf:
            start = int(asked.get("offset", 0))
            items = items[start : start + min(PAGE, int(asked.get("limit", PAGE)))]
        if items:
            self.answer(200, json.dumps(items).encode(), "application/dicom+json")
        else:
            self.answer(204, b"")

    def rest(self, parts: list[str], asked: dict[str, str]) -> None:
        objects = {orthanc_id(uid): self.pacs.header(data) for uid, data in self.pacs.objects.items()}
        if parts == ["system"]:
            said: Any = {"ApiVersion": 16, "DicomAet": "FAKE"}
        elif parts == ["changes"]:
            since = len(objects) if "last" in asked else int(asked["since"])
            feed = [{"Seq": i + 1, "ChangeType": "NewInstance", "ID": one} for i, one in enumerate(objects)]
            page = feed[since : since + min(PAGE, int(asked.get("limit", 1)))]
            last = page[-1]["Seq"] if page else max(since, len(feed)) if "last" in asked else since
            said = {"Changes": page, "Last": min(last, len(feed)), "Done": last >= len(feed)}
        elif parts[0] == "instances" and parts[1] in objects:
            uid = objects[parts[1]].StudyInstanceUID
            series = {orthanc_id(d.SeriesInstanceUID) for d in objects.values() if d.StudyInstanceUID == uid}
            said = {"MainDicomTags": {"StudyInstanceUID": uid}, "Series": sorted(series)}
        elif parts[0] == "series":
            said = {"Instances": [k for k, d in objects.items() if orthanc_id(d.SeriesInstanceUID) == parts[1]]}
        else:
            self.answer(404, b"")
            return
        self.answer(200, json.dumps(said).encode())

    def send_object(self, uid: str) -> None:
        faults = self.pacs.faults.get(uid)
        if faults:
            getattr(self, "fault_" + faults.pop(0))(uid)
        elif uid not in self.pacs.objects:
            self.answer(404, b"")
        else:
            self.answer(200, _multipart(self.pacs.objects[uid]), _TYPE)
            if self.pacs.down_after > 0:
                self.pacs.down_after -= 1
                self.pacs.down = self.pacs.down_after == 0

    def answer(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        if not {"Content_Length", "Transfer_Encoding"} & set(more):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            self.wfile.flush()

    def fault_empty(self, uid: str) -> None:
        self.answer(200, b"--BOUND--\r\n", _TYPE)

    def fault_nothing(self, uid: str) -> None:
        self.answer(200, b"", _TYPE)

    def fault_html(self, uid: str) -> None:
        self.answer(200, b"<html>please log in</html>", "text/html")

    def fault_absent(self, uid: str) -> None:
        self.answer(404, b"")

    def fault_broken(self, uid: str) -> None:
        self.answer(500, b"oops")

    def fault_redirect(self, uid: str) -> None:
        self.answer(302, b"", Location="http://127.0.0.1:9/elsewhere")

    def fault_wrong(self, uid: str) -> None:
        other = next(data for key, data in self.pacs.objects.items() if key != uid)
        self.answer(200, _multipart(other), _TYPE)

    def fault_two(self, uid: str) -> None:
        body = _multipart(self.pacs.objects[uid])
        self.answer(200, body.removesuffix(b"--\r\n") + b"\r\n\r\nxx\r\n--BOUND--\r\n", _TYPE)

    def fault_busy(self, uid: str) -> None:
        self.answer(503, b"", Retry_After="0")

    def fault_many(self, uid: str) -> None:
        self.answer(429, b"", Retry_After="Sat, 01 Jan 2000 00:00:00 GMT")

    def fault_drop(self, uid: str) -> None:
        self.close_connection = True

    def fault_cut(self, uid: str) -> None:
        body = _multipart(self.pacs.objects[uid])
        self.answer(200, body[:-200], _TYPE, Content_Length=str(len(body)))
        self.close_connection = True

    def fault_unclosed(self, uid: str) -> None:
        self.answer(200, _multipart(self.pacs.objects[uid])[:-200], _TYPE)

    def fault_huge(self, uid: str) -> None:
        self.answer(200, b"", _TYPE, Content_Length=str(10**13))
        self.close_connection = True

    def fault_endless(self, uid: str) -> None:
        self.answer(200, b"", _TYPE, Transfer_Encoding="chunked")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"100000\r\n" + bytes(2**20) + b"\r\n")

    def fault_drip(self, uid: str) -> None:
        self.answer(200, b"", _TYPE, Content_Length="1000")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"-")
                self.wfile.flush()
                time.sleep(0.05)


_TYPE = 'multipart/related; type="application/dicom"; boundary=BOUND'


def _multipart(data: bytes) -> bytes:
    return b"--BOUND\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--BOUND--\r\n"


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {tag: {"vr": "UI", "Value": [str(value)]} for tag, value in values.items()}


@contextlib.contextmanager
def serving(pacs: Pacs, certificate: Path | None = None) -> Iterator[Pacs]:
    """The PACS on a free port of this machine; over TLS where there is a certificate (and its key in the same file)."""
    handler = type("Handler", (_Handler,), {"pacs": pacs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    pacs.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield pacs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
