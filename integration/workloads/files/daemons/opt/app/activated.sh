#!/bin/sh
echo activated >>/scratch/activated
