# syntax=docker/dockerfile:1
# One image for every process of a deployment. Its own command is the web server; compose.yaml gives the others.
ARG PYTHON=3.11-slim-bookworm

# The locked packages, in a venv that the second stage takes over. What pip needs to build stays here.
FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements/main.txt /tmp/main.txt
RUN /opt/venv/bin/python -m pip install --no-input --require-hashes -r /tmp/main.txt \
    && /opt/venv/bin/python -m pip uninstall --yes pip setuptools

FROM python:${PYTHON}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PDS_DATA_DIR=/data PDS_HOST=0.0.0.0 PDS_PORT=8000
# The same number everywhere, so that volumes can be handed from one host to another.
RUN groupadd --gid 10001 twins \
    && useradd --uid 10001 --gid twins --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin twins \
    && install --directory --owner=twins --group=twins --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/twins
COPY app.py LICENSE ./
COPY pdsapp pdsapp
COPY migrations migrations
COPY templates templates
COPY static static
COPY deploy/gunicorn.conf.py deploy/
RUN python -m compileall -q -j 0 pdsapp app.py migrations
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PDS_PORT']), timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["gunicorn", "--config", "deploy/gunicorn.conf.py", "app:app"]
