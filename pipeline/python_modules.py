"""Modules of the standard library that stand as files of 12 kB and more in Python 3.11, 3.12 and 3.13 alike."""

from __future__ import annotations

_NAMES = """
_collections_abc.py _markupbase.py _pyio.py _strptime.py argparse.py ast.py asyncio/base_events.py asyncio/events.py
asyncio/futures.py asyncio/locks.py asyncio/proactor_events.py asyncio/selector_events.py asyncio/sslproto.py
asyncio/streams.py asyncio/tasks.py asyncio/unix_events.py asyncio/windows_events.py base64.py bdb.py calendar.py
cmd.py codecs.py collections/__init__.py compileall.py concurrent/futures/_base.py concurrent/futures/process.py
configparser.py contextlib.py csv.py dataclasses.py difflib.py dis.py doctest.py email/_header_value_parser.py
email/_parseaddr.py email/_policybase.py email/charset.py email/feedparser.py email/generator.py email/header.py
email/headerregistry.py email/message.py email/utils.py enum.py fileinput.py fractions.py ftplib.py functools.py
gettext.py gzip.py heapq.py html/parser.py http/client.py http/cookiejar.py http/cookies.py http/server.py
imaplib.py importlib/metadata/__init__.py inspect.py ipaddress.py json/__init__.py json/decoder.py json/encoder.py
locale.py logging/__init__.py logging/config.py logging/handlers.py lzma.py mailbox.py mimetypes.py modulefinder.py
multiprocessing/connection.py multiprocessing/forkserver.py multiprocessing/managers.py multiprocessing/pool.py
multiprocessing/process.py multiprocessing/queues.py multiprocessing/shared_memory.py multiprocessing/synchronize.py
multiprocessing/util.py ntpath.py optparse.py os.py pdb.py pickle.py pickletools.py pkgutil.py platform.py
plistlib.py poplib.py posixpath.py pprint.py profile.py pstats.py pydoc.py random.py re/__init__.py re/_compiler.py
re/_parser.py runpy.py selectors.py shlex.py shutil.py smtplib.py socket.py socketserver.py ssl.py statistics.py
subprocess.py tarfile.py tempfile.py textwrap.py threading.py timeit.py tokenize.py tomllib/_parser.py trace.py
traceback.py tracemalloc.py typing.py unittest/case.py unittest/loader.py unittest/mock.py unittest/suite.py
urllib/parse.py urllib/request.py uuid.py warnings.py wave.py weakref.py webbrowser.py wsgiref/handlers.py
wsgiref/validate.py xml/etree/ElementPath.py xml/etree/ElementTree.py xml/sax/expatreader.py xml/sax/handler.py
xml/sax/saxutils.py xml/sax/xmlreader.py xmlrpc/client.py xmlrpc/server.py zipimport.py zoneinfo/_zoneinfo.py
"""

MODULES = tuple(_NAMES.split())
